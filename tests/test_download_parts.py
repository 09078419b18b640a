"""The parts of the downloader: addresses, headers, lists, schedule, pictures, each beside an independent account."""

import io
import ipaddress
import json
from collections import Counter
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import pairwise
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from misbehaving_server import encoded, gif, png_bomb, told
from PIL import Image, ImageOps, PngImagePlugin

from vlrepro.data.download.addresses import PrivateAddress, guarded_socket, is_public
from vlrepro.data.download.headers import opted_out, retry_after
from vlrepro.data.download.jpeg import stripped
from vlrepro.data.download.ledger import summarise
from vlrepro.data.download.lists import Entry, read_list
from vlrepro.data.download.options import Rules
from vlrepro.data.download.outcomes import Outcome, refusal
from vlrepro.data.download.pictures import pack_picture
from vlrepro.data.download.schedule import Job, Schedule, host_of
from vlrepro.errors import UserError

# IANA's special-purpose registries (RFC 6890 and its updates), beside multicast (RFC 5771, RFC 4291)
SPECIAL = [
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.2.0/24"),
    *("192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    *("::/128", "::1/128", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "2001:db8::/32", "100::/64"),
]


@given(st.sampled_from(SPECIAL), st.integers(0, 2**128 - 1))
def test_special_addresses_are_not_public_in_any_dress(block, offset):
    network = ipaddress.ip_network(block)
    address = network[offset % network.num_addresses]
    assert not is_public(str(address))
    if address.version == 4:
        number = int(address)
        assert not is_public(f"::ffff:{address}")
        assert not is_public(str(ipaddress.IPv6Address((0x2002 << 112) | (number << 80) | 1)))  # 6to4
        assert not is_public(str(ipaddress.IPv6Address((0x64FF9B << 96) | number)))  # NAT64
        assert not is_public(str(ipaddress.IPv6Address((0x20010000 << 96) | (number ^ 0xFFFFFFFF))))  # Teredo's client


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
)
def test_public_addresses_are_public(address):
    assert is_public(address)


def test_guarded_sockets():
    with pytest.raises(PrivateAddress):
        guarded_socket((2, 1, 6, "", ("169.254.169.254", 80)))
    with pytest.raises(PrivateAddress):
        guarded_socket((10, 1, 6, "", ("fe80::1%eth0", 80, 0, 2)))
    guarded_socket((2, 1, 6, "", ("8.8.8.8", 80))).close()


@pytest.mark.parametrize(
    ("value", "out"),
    [
        ("noai", True),
        ("all", False),
        ("NOINDEX , nofollow", True),
        ("none", True),
        ("noimageai", True),
        ("nofollow, noarchive", False),
        ("vlrepro: noai", True),
        ("*: noimageindex", True),
        ("otherbot: noai, noindex", False),  # what follows an agent's name is for that agent
        ("otherbot: noai, vlrepro: noindex", True),
        ("nofollow, otherbot: noindex", False),
        ("unavailable_after: 25 Jun 2030 15:00:00 GMT, noindex", True),  # a directive with a value, no agent
        ("max-snippet: 20", False),
        ("", False),
    ],
)
def test_opt_out_headers(value, out):
    assert opted_out([value]) is out
    assert opted_out(["all", value]) is out


def test_retry_after():
    now = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
    assert retry_after("120", now) == 120
    assert retry_after(format_datetime(now.replace(minute=3), usegmt=True), now) == 180
    assert retry_after(format_datetime(now.replace(hour=1), usegmt=True), now) == 0
    assert [retry_after(text, now) for text in (None, "", "soon", "-5", "1e9", "٣")] == [None] * 6


def test_statuses_that_pass():
    again = {status for status in range(300, 600) if refusal(status, None).again}
    assert {408, 425, 429, 500, 502, 503, 504, 522} <= again
    assert not {400, 401, 403, 404, 410, 451, 501, 505} & again


def test_conceptual_captions(tmp_path):
    """A caption may hold what text files take for the end of a line."""
    path = tmp_path / "list.tsv"
    path.write_bytes("a cat\u2028on a \x85mat\thttp://a/1.jpg\r\n \thttp://b/ü\nlast\thttp://c".encode())
    assert list(read_list(path, "conceptual_captions")) == [
        Entry("http://a/1.jpg", "a cat\u2028on a \x85mat"),
        Entry("http://b/ü", ""),
        Entry("http://c", "last"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\thttp://a\nno url\n", r"list.tsv: line 2: 1 fields instead of caption and URL"),
        (b"a\tb\tc\n", r"list.tsv: line 1: 3 fields"),
        (b"a\thttp://a\n\n", r"list.tsv: line 2: 1 fields"),
        (b"\xff\thttp://a\n", r"list.tsv: line 1 is not UTF-8"),
    ],
)
def test_malformed_tables_name_the_line(tmp_path, content, message):
    (tmp_path / "list.tsv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        list(read_list(tmp_path / "list.tsv", "conceptual_captions"))
    with pytest.raises(UserError, match="no such list of URLs"):
        read_list(tmp_path / "nothing", "conceptual_captions")
    with pytest.raises(UserError, match="a folder, but"):
        list(read_list(tmp_path, "conceptual_captions"))


ANNOTATION = {
    **{"image_id": "../../x", "author": "someone", "url": "https://i.redd.it/x.jpg", "raw_caption": "Itap"},
    **{"caption": "itap", "subreddit": "itookapicture", "score": 9, "created_utc": 1577836799, "permalink": "/r/x"},
}


def test_redcaps(tmp_path):
    late = ANNOTATION | {"subreddit": "cats", "created_utc": 1577836800}
    for name, rows in (("b", [late]), ("a", [ANNOTATION, ANNOTATION])):
        (tmp_path / f"{name}.json").write_text(json.dumps({"info": {}, "annotations": rows}))
    first = Entry("https://i.redd.it/x.jpg", "itap", "itookapicture", "someone", "2019-12-31")
    last = Entry("https://i.redd.it/x.jpg", "itap", "cats", "someone", "2020-01-01")
    assert list(read_list(tmp_path, "redcaps")) == [first, first, last]
    assert list(read_list(tmp_path / "b.json", "redcaps")) == [last]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("[", r"a.json: no RedCaps annotations"),
        ("[]", r"a.json: no RedCaps annotations"),
        ('{"annotations": {}}', r"a.json: its annotations are no list"),
        (json.dumps({"annotations": [ANNOTATION, {"url": "x"}]}), r"a.json: annotation 1 is malformed \(KeyError"),
        (json.dumps({"annotations": [ANNOTATION | {"url": 5}]}), r"annotation 0 is malformed \(TypeError: url"),
        (json.dumps({"annotations": [ANNOTATION | {"created_utc": "x"}]}), r"annotation 0 is malformed \(TypeError"),
        (json.dumps({"annotations": [ANNOTATION | {"created_utc": 1e300}]}), r"annotation 0 is malformed"),
    ],
)
def test_malformed_annotations_name_the_file_and_row(tmp_path, document, message):
    (tmp_path / "a.json").write_text(document)
    with pytest.raises(UserError, match=message):
        list(read_list(tmp_path, "redcaps"))


@settings(deadline=None)
@given(
    hosts=st.lists(st.sampled_from("abc"), max_size=40),
    per_host=st.integers(1, 3),
    delay=st.sampled_from([0.0, 0.5, 2.0]),
    window=st.integers(1, 50),
    lengths=st.lists(st.sampled_from([0.0, 0.3, 1.0, 5.0]), min_size=1, max_size=5),
)
def test_the_schedule_is_polite_complete_and_in_order(hosts, per_host, delay, window, lengths):
    """Simulated with a clock of our own: limits hold at all times, each job once, a host's jobs in list order."""
    jobs = (Job(row, "", f"http://{host}/{row}") for row, host in enumerate(hosts))
    schedule = Schedule(jobs, per_host, delay, window)
    now, starts, running = 0.0, [], []
    while True:
        while job := schedule.take(now):
            starts.append((now, host_of(job.url), job.row))
            running.append((now + lengths[job.row % len(lengths)], host_of(job.url)))
            assert max(Counter(host for _, host in running).values()) <= per_host
        times = [schedule.next_time(), *(end for end, _ in running)]
        times = [time for time in times if time is not None]
        if not times:
            break
        now = max(now, min(times))
        for end, host in [one for one in running if one[0] <= now]:
            running.remove((end, host))
            schedule.ended(host)
    assert sorted(row for _, _, row in starts) == list(range(len(hosts)))
    for host in "abc":
        mine = [(time, row) for time, name, row in starts if name == host]
        assert [row for _, row in mine] == sorted(row for _, row in mine)
        assert all(later - earlier >= delay for (earlier, _), (later, _) in pairwise(mine))


def test_the_schedule_waits_for_paused_hosts_and_jobs_put_off():
    schedule = Schedule(iter([Job(0, "", "http://a/"), Job(1, "", "http://b/"), Job(2, "", "http://a/")]), 2, 0.0)
    first = schedule.take(0.0)
    schedule.pause("a", 5.0)
    assert schedule.take(0.0).row == 1
    assert schedule.take(0.0) is None
    schedule.ended("a")
    schedule.again(first, 3.0)
    assert schedule.take(4.9) is None
    assert schedule.next_time() == 5.0
    assert [schedule.take(5.0).row, schedule.take(5.0).row] == [2, 0]
    assert schedule.next_time() is None
    assert host_of("http://[::1") == ""


RULES = Rules(**told()[0])


def pixels(data):
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB")).astype(float)


def test_small_jpegs_keep_their_pixels_and_lose_the_rest():
    exif = Image.Exif()
    exif[0x010F] = "maker of the camera"
    for options in ({}, {"progressive": True}, {"restart_marker_blocks": 2}):
        data = encoded(size=(90, 70), exif=exif, comment=b"a secret", icc_profile=b"p" * 3000, **options)
        packed = pack_picture(data + b"<script>polyglot</script>", RULES)
        assert (packed.reason, packed.packed_width, packed.packed_height) == ("ok", 90, 70)
        assert np.array_equal(pixels(packed.data), pixels(data))
        assert not any(text in packed.data for text in (b"maker", b"secret", b"ppp", b"Exif", b"polyglot"))
        with Image.open(io.BytesIO(packed.data)) as picture:
            assert not picture.getexif()
            assert not {"icc_profile", "comment", "exif"} & set(picture.info)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 400))
def test_stripping_never_raises(noise, cut):
    data = encoded()
    for broken in (noise, data[:cut] + noise + data[cut:], data[:cut], data[:2] + noise):
        assert stripped(broken) is None or stripped(broken).startswith(b"\xff\xd8")


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "BMP"]), st.integers(4, 400), st.binary(min_size=1, max_size=9))
def test_damaged_pictures_never_raise(kind, place, noise):
    data = encoded(kind, size=(50, 40))
    packed = pack_picture(data[:place] + noise + data[place + len(noise) :], RULES)
    assert packed.reason in {"ok", "decode", "bomb", "too_small", "not_image"}
    assert bool(packed.data) == (packed.reason == "ok")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright(orientation):
    """Beside Pillow's own turning of the full picture."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(size=(120, 80), exif=exif, quality=95)
    packed = pack_picture(data, RULES)
    with Image.open(io.BytesIO(data)) as picture:
        upright = np.asarray(ImageOps.exif_transpose(picture)).astype(float)
    assert (packed.packed_height, packed.packed_width) == upright.shape[:2]
    assert np.abs(pixels(packed.data) - upright).mean() < 3


def test_large_pictures_are_scaled_by_their_short_side():
    for size, wanted in (((900, 512), (450, 256)), ((300, 1000), (256, 853)), ((256, 4000), (256, 4000))):
        data = encoded(size=size, quality=95)
        packed = pack_picture(data, RULES)
        assert (packed.width, packed.height) == size
        assert (packed.packed_width, packed.packed_height) == wanted
        with Image.open(io.BytesIO(data)) as picture:
            reference = np.asarray(picture.resize(wanted, Image.Resampling.LANCZOS)).astype(float)
        assert np.abs(pixels(packed.data) - reference).mean() < 3
    whole = pack_picture(data := encoded(size=(900, 512)), Rules(**told(short_side=None)[0]))
    assert (whole.packed_width, whole.packed_height) == (900, 512)
    assert np.array_equal(pixels(whole.data), pixels(data))


def test_transparency_is_over_white_and_sixteen_bits_are_scaled():
    stream = io.BytesIO()
    Image.new("RGBA", (30, 30), (200, 0, 0, 0)).save(stream, "PNG")
    assert pixels(pack_picture(stream.getvalue(), RULES).data).min() > 250
    deep = np.full((30, 30), 40_000, dtype=np.uint16)
    stream = io.BytesIO()
    Image.fromarray(deep).save(stream, "PNG")
    assert np.abs(pixels(pack_picture(stream.getvalue(), RULES).data) - 40_000 / 256).max() < 3


def test_bombs_are_refused_by_their_headers():
    start = perf_counter()
    assert pack_picture(png_bomb(), RULES).reason == "bomb"
    assert pack_picture(gif(21), RULES).reason == "bomb"
    assert pack_picture(gif(20), RULES).reason == "ok"
    assert perf_counter() - start < 2
    text = PngImagePlugin.PngInfo()
    text.add_text("note", "x" * 50_000_000, zip=True)  # unpacks to much
    stream = io.BytesIO()
    Image.new("RGB", (30, 30)).save(stream, "PNG", pnginfo=text)
    assert pack_picture(stream.getvalue(), RULES).reason == "decode"


def test_summaries_compare_with_what_is_published():
    reasons = ["ok"] * 7 + ["http_404"] * 2 + ["dns"]
    outcomes = {row: Outcome(row, reason, sha256=str(row)) for row, reason in enumerate(reasons)}
    found = summarise(outcomes, "conceptual_captions")
    assert (found["urls"], found["ok"], found["missing"], found["share_missing"]) == (10, 7, 3, 0.3)
    assert found["by_reason"] == {"ok": 7, "http_404": 2, "dns": 1}
    paper = found["reported"][0]
    assert (paper["share_missing"], paper["ours_minus_theirs"]) == (0.2, pytest.approx(0.1))
    mirror = next(one for one in found["reported"] if one["list"] == "validation" and "found" in one)
    assert mirror["share_missing"] == pytest.approx((15_840 - 13_443) / 15_840, abs=1e-6)
    assert summarise(dict(reversed(outcomes.items())), "redcaps")["contents"] == found["contents"]
    outcomes[0] = Outcome(0, "ok", sha256="other")
    assert summarise(outcomes, "redcaps")["contents"] != found["contents"]
