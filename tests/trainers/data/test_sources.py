import gzip
import json
import os

import pytest

from trainers.data import files, sources, table_files, tasks
from trainers.errors import UserError


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        raw = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        return str(path)

    return write


def texts(source, split="train"):
    return [record["text"] for record in source.records(split)]


def test_a_document_is_a_file_in_sorted_order_and_gzip_is_unpacked(write, tmp_path):
    write("b.txt", "second\n")
    write("a.txt.gz", "first\r\nécrit\n")
    source = sources.text_files(str(tmp_path / "*"))
    assert texts(source) == ["first\r\nécrit\n", "second\n"]
    assert source.splits == ("train",)


def test_a_line_is_an_example_and_blank_lines_are_kept_on_request(write):
    path = write("a.txt", "one\r\n\n \ntwo")
    assert texts(sources.text_files(path, mode="line")) == ["one", "two"]
    kept = sources.text_files([path], mode="line", keep_blank_lines=True)
    assert texts(kept) == ["one", "", " ", "two"]


def test_long_documents_come_in_pieces_cut_at_line_ends(write, monkeypatch):
    monkeypatch.setattr(files, "PIECE_BYTES", 64)
    text = "".join(f"line {i} é\n" for i in range(100)) + "x" * 300 + "\nend"
    records = list(sources.text_files(write("a.txt", text)).records("train"))
    assert "".join(record["text"] for record in records) == text
    assert [record.get("continues", False) for record in records] == [True] * (len(records) - 1) + [
        False
    ]
    assert all(len(record["text"].encode()) < 3 * 64 for record in records)
    whole = [record["text"].endswith("\n") for record in records if "x" not in record["text"]]
    assert all(whole[:-1])


@pytest.mark.parametrize("piece_bytes", [7, 64, 1 << 20])
def test_a_byte_order_mark_is_no_text(write, monkeypatch, piece_bytes):
    monkeypatch.setattr(files, "PIECE_BYTES", piece_bytes)
    assert "".join(files.pieces(write("a.txt", b"\xef\xbb\xbfabc\n"))) == "abc\n"


@pytest.mark.parametrize("fraction, cut", [(0.1, 900), (0.05, 950), (0.25, 750)])
def test_the_end_of_the_characters_is_the_validation_split(write, monkeypatch, fraction, cut):
    monkeypatch.setattr(files, "PIECE_BYTES", 100)
    text = "".join(f"{i:08d}é\n" for i in range(100))
    source = sources.text_files(write("a.txt", text), validation_fraction=fraction)
    assert source.splits == ("train", "validation")
    train, validation = list(source.records("train")), list(source.records("validation"))
    assert "".join(record["text"] for record in train) == text[:cut]
    assert "".join(record["text"] for record in validation) == text[cut:]
    assert train[-1]["continues"] is False


def test_the_last_lines_are_the_validation_split(write):
    path = write("a.txt", "".join(f"{i}\n" for i in range(10)))
    source = sources.text_files(path, mode="line", validation_fraction=0.2)
    assert texts(source) == list("01234567")
    assert texts(source, "validation") == list("89")


def test_bytes_that_are_not_utf8_are_named_with_their_line_or_replaced(write, monkeypatch):
    monkeypatch.setattr(files, "PIECE_BYTES", 16)
    path = write("a.txt", b"fine\n" * 10 + b"bad \xff\n")
    with pytest.raises(UserError, match=rf"{path}:11: byte 0xff is not UTF-8; .*replace"):
        texts(sources.text_files(path))
    source = sources.text_files(path, encoding_errors="replace", mode="line")
    assert texts(source)[-1] == "bad \ufffd"
    with pytest.raises(UserError, match="byte 0xff is not UTF-8; convert the file$"):
        list(sources.tsv_files(path, fields=["text"]).records("train"))


def test_a_file_that_ends_within_a_character_is_not_utf8(write):
    with pytest.raises(UserError, match=":2: byte 0xc3 is not UTF-8"):
        texts(sources.text_files(write("a.txt", b"fine\n\xc3")))


@pytest.mark.parametrize("name", ["plain", "truncated"])
def test_what_is_no_whole_gzip_file_is_named(tmp_path, name):
    packed = gzip.compress(os.urandom(4000).hex().encode())
    path = tmp_path / f"{name}.gz"
    path.write_bytes(b"just text\n" if name == "plain" else packed[:-2000])
    with pytest.raises(UserError, match=f"{name}.gz: is no whole gzip file"):
        texts(sources.text_files(str(path)))


def test_files_of_the_home_directory_are_found(write, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = write("a.txt", "x")
    assert files.expand(["~/a.txt"]) == files.expand("~/*.txt") == [path]


def test_missing_and_empty_files_are_seen_at_the_door(write, tmp_path):
    with pytest.raises(UserError, match=r"nothing\*: no such file"):
        sources.text_files(str(tmp_path / "nothing*")).check()
    with pytest.raises(UserError, match="a.txt: no text in it, for the train split"):
        sources.text_files(write("a.txt", "")).check()
    with pytest.raises(UserError, match="set TEST_FILES"):
        sources.text_files(write("a.txt", "x")).records("test")


def test_the_fingerprint_follows_the_files_and_the_options(write):
    path = write("a.txt", "one\n")
    before = sources.text_files(path).fingerprint("train")
    assert sources.text_files(path).fingerprint("train") == before
    assert sources.text_files(path, mode="line").fingerprint("train") != before
    os.utime(path, ns=(0, 0))
    assert sources.text_files(path).fingerprint("train") != before


def test_json_lines_are_records_and_errors_name_file_and_line(write):
    good = write("a.jsonl", json.dumps({"question": "é", "answers": [1, 2]}) + "\n\n")
    (record,) = sources.jsonl_files(good).records("train")
    assert record == {"question": "é", "answers": [1, 2]}
    with pytest.raises(UserError, match="a.jsonl:1: no field 'answer'; the fields are: question"):
        record["answer"]
    for content in ("{}\nnonsense\n", "{}\n[1]\n"):
        bad = write("bad.jsonl", content)
        with pytest.raises(UserError, match="bad.jsonl:2: .*JSON"):
            list(sources.jsonl_files(bad).records("train"))


def test_half_a_character_in_json_names_the_record_and_its_field(write):
    lines = [{"text": "nice", "other": "\ud83d"}, {"text": ["a", "nice \ud83d"]}]
    path = write("a.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines))
    task = tasks.language_modelling(sources.jsonl_files(path))
    examples = task.examples("train")
    assert next(examples) == {"targets": "nice"}
    with pytest.raises(UserError, match=r"a.jsonl:2: text has '\\ud83d', half of a character"):
        next(examples)


def test_columns_are_named_by_the_option_or_by_the_first_line(write):
    path = write("a.tsv", "text\tlabel\ngood 'un\t1\n")
    assert list(sources.tsv_files(path).records("train")) == [{"text": "good 'un", "label": "1"}]
    named = sources.tsv_files(path, fields=("a", "b"))
    assert next(named.records("train")) == {"a": "text", "b": "label"}
    with pytest.raises(UserError, match="a.tsv:1: 2 columns where 3 are named"):
        list(sources.tsv_files(path, fields=("a", "b", "c")).records("train"))


def test_a_table_is_tab_separated_or_json_lines_by_its_files_name(write, tmp_path):
    write("a.tsv", "text\tlabel\ngood 'un\t1\n")
    write("b.jsonl.gz", json.dumps({"text": "odd", "label": 0, "id": 7}) + "\n")
    source = table_files.table_files(str(tmp_path / "*"))
    assert list(source.records("train")) == [
        {"text": "good 'un", "label": "1"},
        {"text": "odd", "label": 0, "id": 7},
    ]
    with pytest.raises(
        UserError, match=r"a.tsv:1: 2 columns where 1 are named .*table_files.fields"
    ):
        list(table_files.table_files(str(tmp_path / "a.tsv"), fields=["text"]).records("train"))


def test_parallel_files_are_a_pattern_or_a_pair(write, tmp_path):
    english = write("train.en", "a dog \n\nx\n")
    german = write("train.de", "ein Hund\n\n\n")
    for given in (str(tmp_path / "train.{language}"), [english, german]):
        records = list(sources.parallel_files(given).records("train"))
        pairs = [{"source": "a dog", "target": "ein Hund"}, {"source": "x", "target": ""}]
        assert records == pairs


def test_parallel_files_of_unequal_length_are_refused(write):
    pair = [write("a.en", "1\n2\n3\n"), write("a.de", "1\n2\n")]
    with pytest.raises(UserError, match=r"a\.de: ends at line 2 but .*a\.en goes on"):
        list(sources.parallel_files(pair).records("train"))


def test_a_parallel_path_without_language_is_explained():
    with pytest.raises(UserError, match=r"train.txt: write \{language\} where"):
        sources.parallel_files("train.txt")
