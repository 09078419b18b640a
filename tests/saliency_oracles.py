"""The saliency scores again, in plain Python loops over the pixels of one image: slow, and easy to check by eye.

`pixels` are (value of the map, is object) of an image's valid pixels.
"""

from statistics import fmean

from vlrepro.saliency.canvas import IGNORE, OBJECT


def pixels_of(one, mask):
    pairs = zip(one.ravel().tolist(), mask.ravel().tolist(), strict=True)
    return [(value, label == OBJECT) for value, label in pairs if label != IGNORE]


def rescaled(pixels):
    low, high = min(value for value, _ in pixels), max(value for value, _ in pixels)
    return [((value - low) / (high - low) if high > low else 0.5, label) for value, label in pixels]


def average_precision(entries):
    total = sum(label for _, label in entries)
    result = recall = 0.0
    for threshold in sorted({value for value, _ in entries}, reverse=True):
        called = [label for value, label in entries if value >= threshold]
        result += (sum(called) / total - recall) * sum(called) / len(called)
        recall = sum(called) / total
    return result


def both_classes(pixels):
    return [(value, label) for value, label in pixels] + [(1 - value, not label) for value, label in pixels]


def binarised(pixels, rule, at):
    values = [value for value, _ in pixels]
    if rule != "value" and min(values) == max(values):
        return [(False, label) for _, label in pixels]
    if rule == "mean":
        at = fmean(values)
    elif rule == "quantile":
        at = sorted(values)[int(at * (len(values) - 1))]
    elif rule == "level":
        pixels = rescaled(pixels)
    return [(value > at, label) for value, label in pixels]


def confusion(called):
    """(intersection, union) of the object and of the background."""
    both = sum(1 for prediction, label in called if prediction and label)
    either = sum(1 for prediction, label in called if prediction or label)
    neither = len(called) - either
    return both, either, neither, len(called) - both


def quotient(top, bottom):
    return top / bottom if bottom else 1.0


def set_iou(images):
    """(object IoU, mean IoU) with sums over images, each a list of (prediction, label)."""
    both, either, neither, not_both = map(sum, zip(*(confusion(called) for called in images), strict=True))
    return quotient(both, either), (quotient(both, either) + quotient(neither, not_both)) / 2


def accuracy(called):
    return fmean(prediction == label for prediction, label in called)


def energy(pixels):
    scaled = rescaled(pixels)
    return sum(value for value, label in scaled if label) / sum(value for value, _ in scaled)


def rank(pixels):
    k = sum(label for _, label in pixels)
    limit = sorted((value for value, _ in pixels), reverse=True)[k - 1]
    above = [label for value, label in pixels if value > limit]
    tied = [label for value, label in pixels if value == limit]
    return (sum(above) + (k - len(above)) * fmean(tied)) / k


def pointing(one, mask, reach):
    places = [(y, x) for y in range(mask.shape[0]) for x in range(mask.shape[1])]
    highest = max(one[place] for place in places if mask[place] != IGNORE)
    maxima = [place for place in places if mask[place] != IGNORE and one[place] == highest]
    objects = [place for place in places if mask[place] == OBJECT]
    near = [any((y - v) ** 2 + (x - u) ** 2 <= reach**2 for v, u in objects) for y, x in maxima]
    return fmean(near)


def all_scores(maps, masks, published, tuned):
    """Every score by its short name."""
    images = [pixels_of(one, mask) for one, mask in zip(maps, masks, strict=True)]
    called = [binarised(pixels, published.rule, published.at) for pixels in images]
    cut = [binarised(pixels, tuned.rule, tuned.at) for pixels in images]
    alone = [set_iou([image]) for image in called]
    ap = [average_precision(pixels) for pixels in images]
    share = [fmean(label for _, label in pixels) for pixels in images]
    limits = {"ap_to_5": (0, 0.05), "ap_to_25": (0.05, 0.25), "ap_to_50": (0.25, 0.5), "ap_over_50": (0.5, 1)}
    hard = [average_precision(both_classes([(float(p), y) for p, y in image])) for image in called]
    reach = 15 / 500 * max(masks.shape[1:])
    return {
        "iou": set_iou(called)[0],
        "miou": set_iou(called)[1],
        "ap": fmean(ap),
        "ap_two_class": fmean(average_precision(both_classes(rescaled(one))) for one in images),
        "pixel_accuracy": accuracy([pair for image in called for pair in image]),
        "hard_ap": fmean(hard),
        "iou_image": fmean(iou for iou, _ in alone),
        "miou_image": fmean(iou for _, iou in alone),
        "iou_tuned": set_iou(cut)[0],
        "miou_tuned": set_iou(cut)[1],
        "pointing": fmean(pointing(one, mask, reach) for one, mask in zip(maps, masks, strict=True)),
        "energy": fmean(energy(pixels) for pixels in images),
        "rank": fmean(rank(pixels) for pixels in images),
        **{
            name: fmean(value for value, part in zip(ap, share, strict=True) if low < part <= high)
            for name, (low, high) in limits.items()
        },
    }
