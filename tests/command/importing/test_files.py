import gzip
import hashlib
import time
import zlib
from pathlib import Path

import pytest

from command.importing.files import find, kind_of, left_out, read
from command.importing.line import LINE_BYTES_MAX

# Digests do not compress well, so that a share of the file is about the same share of the lines.
ROWS = [b'{"row": "%b"}' % hashlib.sha256(b"%d" % number).hexdigest().encode() for number in range(20_000)]
CONTENT = b"\n".join(ROWS) + b"\n"


def contents(path: Path) -> list[bytes]:
    return [line.content for line in read(path)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_lines_are_read_whatever_the_name_says_of_compression(tmp_path, name, pack):
    path = tmp_path / name
    path.write_bytes(pack(CONTENT))
    lines = list(read(path))
    assert [line.content for line in lines] == ROWS
    assert [line.number for line in lines] == list(range(1, len(ROWS) + 1))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.5, 0.9, 0.999999])
def test_of_a_truncated_gz_every_whole_line_is_read_and_the_torn_one_is_named(path, share):
    packed = gzip.compress(CONTENT)
    cut = packed[: 10 + int((len(packed) - 11) * share)]
    path.write_bytes(cut)
    *whole, torn = read(path)
    *readable, rest = zlib.decompressobj(wbits=31).decompress(cut).split(b"\n")
    assert [line.content for line in whole] == readable
    assert (torn.number, torn.content) == (len(readable) + 1, rest)
    assert torn.reason.code == "damaged-file"
    assert "ended before the end-of-stream marker" in torn.reason.detail


def test_rows_before_damage_in_the_middle_of_a_file_count(path):
    packed = bytearray(gzip.compress(CONTENT))
    packed[len(packed) // 2 :] = b"\xff" * (len(packed) // 2)
    path.write_bytes(packed)
    *whole, damaged = read(path)
    assert damaged.reason.code == "damaged-file"
    assert len(whole) > 5_000
    # A checksum stands at the end: until then, garbage may have been read as lines, and only for the last ones.
    assert [line.content for line in whole[:-2_000]] == ROWS[: len(whole) - 2_000]


def test_many_small_gz_members_are_read_in_linear_time(path):
    """Programs that flush after each record write such files; 100,000 members took five times as long."""
    seconds = []
    for members in (10_000, 80_000):
        path.write_bytes(gzip.compress(b"x") * members)
        began = time.process_time()
        assert contents(path) == [b"x" * members]
        seconds.append(time.process_time() - began)
    assert seconds[1] < 16 * seconds[0]


def test_a_byte_order_mark_in_a_gz_member_of_its_own_is_not_the_end(path):
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf") + gzip.compress(b'{"id": "ada"}\n'))
    assert contents(path) == [b'{"id": "ada"}']


def test_several_gz_members_are_one_file(path):
    path.write_bytes(gzip.compress(b"1\n2") + gzip.compress(b"3\n4\n"))
    assert contents(path) == [b"1", b"23", b"4"]


@pytest.mark.parametrize(
    "content",
    [b"1\n2", b"1\n2\n", b"1\r\n2\r\n", b"\xef\xbb\xbf1\n2\n", b"  1  \n2", b"1\n2\n\n \n"],
    ids=["no last newline", "last newline", "CRLF", "byte order mark", "blanks", "blank lines"],
)
def test_line_ends_and_blanks_are_no_part_of_a_row(path, content):
    path.write_bytes(content)
    assert contents(path) == [b"1", b"2"]


def test_blank_lines_count_as_lines(path):
    path.write_bytes(b"\n\n1\n\n2\n")
    assert [(line.number, line.content) for line in read(path)] == [(3, b"1"), (5, b"2")]


def test_an_empty_file_has_no_lines(path):
    path.write_bytes(b"")
    assert contents(path) == []
    path.write_bytes(gzip.compress(b""))
    assert contents(path) == []


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_line_that_is_too_long_is_reported_and_not_held_in_memory(path, pack):
    huge = 40 * LINE_BYTES_MAX
    path.write_bytes(pack(b"1\n" + b"x" * huge + b"\n" + b"y" * LINE_BYTES_MAX + b"\n3\n" + b"z" * huge))
    lines = list(read(path))
    assert [line.number for line in lines] == [1, 2, 3, 4, 5]
    assert [line.reason and line.reason.code for line in lines] == [None, "row-too-large", None, None, "row-too-large"]
    assert max(len(line.content) for line in lines) < 3 * LINE_BYTES_MAX


def test_a_row_of_a_csv_file_that_is_too_long_and_wrong_is_too_long(tmp_path):
    orders = tmp_path / "orders.csv"
    rows = [f"place_order,{at},o-1,ada,1,2,{'x' * 4_000}" for at in ("2026-11-01", "2026-11-02")] * 300
    orders.write_text("\n".join(["kind,at,order,customer,quantity,unit_price,sku", *rows]))
    (line,) = read(orders)
    assert line.reason.code == "row-too-large"


def test_a_file_that_cannot_be_opened_is_damaged_from_its_first_line(tmp_path):
    (line,) = read(tmp_path / "gone.jsonl")
    assert line.number == 1
    assert line.reason == ("damaged-file", "the file cannot be read from here on: No such file or directory")


def test_progress_is_counted_in_bytes_of_the_file(path):
    path.write_bytes(gzip.compress(CONTENT))
    seen: list[int] = []
    assert len(list(read(path, seen.append))) == len(ROWS)
    assert seen == sorted(seen)
    assert seen[-1] == path.stat().st_size


def test_of_a_folder_users_products_and_commands_are_taken_in_this_order(tmp_path):
    for name in (
        "commands.jsonl.gz",
        "products-2.jsonl",
        "products-1.jsonl",
        "users.jsonl",
        "dirty.jsonl",
        "Users.CSV",
        "users.txt",
        "orders.csv",
    ):
        (tmp_path / name).touch()
    (tmp_path / "users.jsonl.d").mkdir()
    assert [path.name for path in find(tmp_path)] == [
        "Users.CSV", "users.jsonl", "products-1.jsonl", "products-2.jsonl", "commands.jsonl.gz", "orders.csv"
    ]  # fmt: skip
    kinds = ["users", "users", "products", "products", "commands", "commands"]
    assert [kind_of(path) for path in find(tmp_path)] == kinds
    assert left_out(tmp_path) == ["dirty.jsonl"]
    assert left_out(tmp_path / "dirty.jsonl") == []


def test_numbered_parts_of_a_folder_are_read_in_the_order_of_their_numbers(tmp_path):
    names = ["commands.jsonl", *(f"commands-{number}.jsonl" for number in range(1, 13))]
    names += ["commands-2026-9-30.jsonl.gz", "commands-2026-10-1.jsonl"]
    for name in sorted(names):
        (tmp_path / name).touch()
    assert [path.name for path in find(tmp_path)] == names


def test_parts_are_in_order_whatever_the_script_of_their_digits_and_the_case_of_their_letters(tmp_path):
    names = ["commands-2.jsonl", "Commands-3.JSONL", "commands-\u0664.jsonl", "Commands-10.jsonl"]
    names.append("commands-\u0661\u0661.csv")
    for name in names:
        (tmp_path / name).touch()
    assert [path.name for path in find(tmp_path)] == names


def test_a_named_file_is_taken_whatever_its_name(tmp_path):
    dirty = tmp_path / "dirty.jsonl"
    dirty.touch()
    assert find(dirty) == [dirty]
    assert kind_of(dirty) is None
    with pytest.raises(FileNotFoundError, match="has no users"):
        find(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        find(tmp_path / "nothing")
