"""Small copies of the evaluation sets' archives, written from their descriptions: few pictures of random pixels.

Each function fills the folder that torchvision would be given as root and returns the folder that our reader is given.
"""

import io
import json
import pickle

import numpy as np
from PIL import Image
from scipy.io import savemat


def pixels(seed, height=8, width=8):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(seed, ending="JPEG", height=10, width=12):
    stream = io.BytesIO()
    Image.fromarray(pixels(seed, height, width)).save(stream, ending)
    return stream.getvalue()


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data) if isinstance(data, bytes) else path.write_text(data)


def labels_of(classes, count, seed, kind=np.int64):
    """Shuffled class numbers from 0; every class occurs."""
    return np.random.default_rng(seed).permutation(np.arange(count, dtype=kind) % classes)


def svhn(root):
    root.mkdir(parents=True, exist_ok=True)
    for seed, (split, count) in enumerate((("train", 25), ("test", 12))):
        stacked = np.stack([pixels(100 * seed + i, 32, 32) for i in range(count)], axis=-1)
        savemat(root / f"{split}_32x32.mat", {"X": stacked, "y": labels_of(10, count, seed, np.uint8)[:, None] + 1})
    return root


def stl10(root):
    put(root / "stl10_binary/class_names.txt", "\n".join(STL10) + "\n")
    for seed, (split, count) in enumerate((("train", 23), ("test", 11))):
        shown = [pixels(100 * seed + i, 96, 96) for i in range(count)]
        columns = b"".join(picture.transpose(2, 1, 0).tobytes() for picture in shown)
        put(root / f"stl10_binary/{split}_X.bin", columns)
        put(root / f"stl10_binary/{split}_y.bin", (labels_of(10, count, seed, np.uint8) + 1).tobytes())
    put(root / "stl10_binary/unlabeled_X.bin", b"")
    return root


STL10 = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]
CIFAR10 = [f"thing_{number}" for number in range(10)]
CIFAR100 = [f"fine_{number}" for number in range(100)]


def cifar10(root):
    """The binary release for us and the Python release, with the same pictures, for torchvision."""
    put(root / "cifar-10-batches-bin/batches.meta.txt", "\n".join(CIFAR10) + "\n\n")
    put(root / "cifar-10-batches-py/batches.meta", pickle.dumps({"label_names": CIFAR10}))
    for seed, name in enumerate([f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]):
        labels = labels_of(10, 12, seed).tolist()
        flat = np.stack([pixels(100 * seed + i, 32, 32).transpose(2, 0, 1).ravel() for i in range(12)])
        records = b"".join(bytes([label]) + row.tobytes() for label, row in zip(labels, flat, strict=True))
        put(root / f"cifar-10-batches-bin/{name}.bin", records)
        put(root / f"cifar-10-batches-py/{name}", pickle.dumps({"data": flat, "labels": labels}))
    return root


def cifar100(root):
    put(root / "cifar-100-binary/fine_label_names.txt", "\n".join(CIFAR100) + "\n")
    put(root / "cifar-100-python/meta", pickle.dumps({"fine_label_names": CIFAR100}))
    for seed, name in enumerate(("train", "test")):
        fine = labels_of(100, 210, seed).tolist()
        flat = np.stack([pixels(1000 * seed + i, 32, 32).transpose(2, 0, 1).ravel() for i in range(210)])
        records = b"".join(bytes([19, label]) + row.tobytes() for label, row in zip(fine, flat, strict=True))
        put(root / f"cifar-100-binary/{name}.bin", records)
        put(root / f"cifar-100-python/{name}", pickle.dumps({"data": flat, "fine_labels": fine, "coarse_labels": 0}))
    return root


def dtd(root):
    for i, split in enumerate(("train", "val", "test")):
        names = [f"{label}/{label}_{number:04d}.jpg" for label in ("banded", "polka-dotted") for number in (i, i + 3)]
        put(root / f"dtd/dtd/labels/{split}1.txt", "\n".join(names) + "\n")
        put(root / f"dtd/dtd/labels/{split}2.txt", "another partition\n")
        for number, name in enumerate(names):
            put(root / f"dtd/dtd/images/{name}", encoded(10 * i + number))
    return root / "dtd"


def aircraft(root):
    data = root / "fgvc-aircraft-2013b/data"
    put(data / "variants.txt", "707-320\nF/A-18\nSpitfire\n")
    for i, split in enumerate(("train", "val", "test")):
        lines = [f"{1000 + 10 * i + n:07d} {variant}" for n, variant in enumerate(("F/A-18", "707-320", "Spitfire"))]
        put(data / f"images_variant_{split}.txt", "\n".join(lines) + "\n")
        for line in lines:
            put(data / f"images/{line[:7]}.jpg", encoded(int(line[:7])))
    return root


PETS = {"Abyssinian": 1, "american_bulldog": 2, "Bengal": 6}


def pets(root):
    base = root / "oxford-iiit-pet"
    for i, split in enumerate(("trainval", "test")):
        names = [(f"{breed}_{number}", PETS[breed]) for breed in PETS for number in range(10 * i, 10 * i + 6)]
        put(base / f"annotations/{split}.txt", "".join(f"{name} {number} 1 1\n" for name, number in names))
        for seed, (name, _) in enumerate(names):
            put(base / f"images/{name}.jpg", encoded(100 * i + seed))
    return base


def rendered_sst2(root):
    for i, split in enumerate(("train", "valid", "test")):
        for j, label in enumerate(("negative", "positive")):
            for number in range(3):
                put(root / f"rendered-sst2/{split}/{label}/{number}.png", encoded(100 * i + 10 * j + number, "PNG"))
    return root


FOOD = {"apple_pie": "Apple pie", "beef_carpaccio": "Beef carpaccio"}


def food101(root):
    base = root / "food-101"
    put(base / "meta/classes.txt", "\n".join(FOOD) + "\n")
    put(base / "meta/labels.txt", "\n".join(FOOD.values()) + "\n")
    for i, split in enumerate(("train", "test")):
        names = {label: [f"{label}/{100 * i + 7 * n}" for n in range(5)] for label in FOOD}
        put(base / f"meta/{split}.json", json.dumps(names))
        put(base / f"meta/{split}.txt", "".join(f"{name}\n" for of_class in names.values() for name in of_class))
        for seed, name in enumerate(name for of_class in names.values() for name in of_class):
            put(base / f"images/{name}.jpg", encoded(50 * i + seed))
    return base.parent


def gtsrb(root):
    """Every class has two to four tracks of three frames."""
    base = root / "gtsrb"
    for label in range(4):
        for track in range(2 + label % 3):
            for frame in range(3):
                name = f"{label:05d}/{track:05d}_{frame:05d}.ppm"
                put(base / f"GTSRB/Training/{name}", encoded(100 * label + 10 * track + frame, "PPM"))
        put(base / f"GTSRB/Training/{label:05d}/GT-{label:05d}.csv", "Filename;ClassId\n")
    lines = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    for number, label in enumerate((3, 0, 2, 1, 1)):
        put(base / f"GTSRB/Final_Test/Images/{number:05d}.ppm", encoded(1000 + number, "PPM"))
        lines.append(f"{number:05d}.ppm;12;10;1;1;9;9;{label}")
    put(base / "GT-final_test.csv", "\r\n".join(lines) + "\r\n")
    return base


CARS = ["AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012", "Volvo 240 Sedan 1993"]


def stanford_cars(root):
    base = root / "stanford_cars"
    (base / "devkit").mkdir(parents=True)
    savemat(base / "devkit/cars_meta.mat", {"class_names": np.array(CARS, object)})
    kind = [("bbox_x1", "O"), ("class", "O"), ("fname", "O")]
    for i, (split, file) in enumerate(
        (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat"))
    ):
        rows = [(39, number % 3 + 1, f"{number:05d}.jpg") for number in range(1, 8)]
        savemat(base / file, {"annotations": np.array(rows, kind)})
        for _, _, name in rows:
            put(base / f"cars_{split}/{name}", encoded(100 * i + int(name[:5])))
    return base


def flowers102(root):
    base = root / "flowers-102"
    labels = [77, 1, 102, 1, 77, 102, 102, 1, 77]
    for number in range(1, len(labels) + 1):
        put(base / f"jpg/image_{number:05d}.jpg", encoded(number))
    savemat(base / "imagelabels.mat", {"labels": np.array([labels], np.uint8)})
    savemat(base / "setid.mat", {"trnid": [[6, 4, 5]], "valid": [[1, 2, 3]], "tstid": [[9, 8, 7]]})
    return base


CALTECH = {"accordion": 33, "BACKGROUND_Google": 36, "Faces_easy": 31}


def caltech101(root):
    """Numbered without gaps from 1; a file that is no picture lies in the background folder, as in the archive."""
    base = root / "caltech101"
    for i, (label, count) in enumerate(CALTECH.items()):
        for number in range(1, count + 1):
            name = f"101_ObjectCategories/{label}/image_{number:04d}.jpg"
            put(base / name, encoded(1000 * i + number, height=4, width=4))
    put(base / "101_ObjectCategories/BACKGROUND_Google/tmp", "x")
    return base


CUB = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "200.Common_Yellowthroat")


def cub2011(root):
    """Six pictures of each class, some for training, numbered across the classes as the release numbers them."""
    base = root / "cub2011/CUB_200_2011"
    numbered = [(f"{label}/{label[4:]}_{i:04d}_{7 * i}.jpg", k, i) for k, label in enumerate(CUB, 1) for i in range(6)]
    tables = {"classes": enumerate(CUB, 1), "images": enumerate((source for source, _, _ in numbered), 1)}
    tables["image_class_labels"] = enumerate((k for _, k, _ in numbered), 1)
    tables["train_test_split"] = enumerate((int((k + i) % 3 > 0) for _, k, i in numbered), 1)
    for name, rows in tables.items():
        put(base / f"{name}.txt", "".join(f"{number} {value}\n" for number, value in rows))
    for number, (source, _, _) in enumerate(numbered, 1):
        put(base / f"images/{source}", encoded(number))
    put(base / "parts/parts.txt", "1 back\n")
    put(root / "cub2011/attributes.txt", "1 has_bill_shape::curved\n")
    return base.parent


EUROSAT = {"AnnualCrop": 12, "Forest": 11, "SeaLake": 10}


def eurosat(root):
    for k, (label, count) in enumerate(EUROSAT.items()):
        for number in range(1, count + 1):
            put(root / f"eurosat/2750/{label}/{label}_{number}.jpg", encoded(100 * k + number))
    return root / "eurosat"


RESISC = ("airplane", "baseball_diamond", "wetland")


def resisc45(root):
    for k, label in enumerate(RESISC):
        for number in range(1, 14):
            name = f"NWPU-RESISC45/{label}/{label}_{number:03d}.jpg"
            put(root / f"resisc45/{name}", encoded(100 * k + number))
    return root / "resisc45"


SUN = ("/a/abbey", "/a/apse/indoor", "/y/youth_hostel")


def sun397(root):
    """Pictures of no list as well, a picture that is PNG by content, and the other partitions."""
    base = root / "sun397"
    put(base / "ClassName.txt", "".join(f"{label}\n" for label in SUN))
    put(base / "SUN397/ClassName.txt", "".join(f"{label}\n" for label in SUN))
    for k, (split, name) in enumerate((("Training", "a"), ("Testing", "b"), ("left out", "c"))):
        names = [f"{label}/sun_{name}{letter}cdefghijklmno.jpg" for label in SUN for letter in "xyz"]
        for i, line in enumerate(names):
            put(base / f"SUN397{line}", encoded(20 * k + i, "PNG" if i == 4 else "JPEG"))
        if split != "left out":
            put(base / f"{split}_01.txt", "".join(f"{line}\r\n" for line in names))
            put(base / f"{split}_02.txt", "another partition\n")
    return base
