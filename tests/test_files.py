import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from matryoshka_text.errors import RunError
from matryoshka_text.files import (
    added_to_folder,
    held,
    locked,
    require_space,
    sha256_of,
    sweep,
    sweep_shared,
    whole_folder,
    write_whole,
)


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    write_whole(tmp_path / "deep" / "a.txt", "first")
    write_whole(tmp_path / "deep" / "a.txt", "second")
    assert (tmp_path / "deep" / "a.txt").read_text() == "second"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.txt"]


def test_a_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "a", "old")

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_whole(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_folder_appears_only_when_its_block_ends_well(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "run") as folder:
        (folder / "half").write_text("x")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    for content in ("one", "two"):
        with whole_folder(tmp_path / "run") as folder:
            (folder / content).write_text(content)
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["two"]
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_too_little_space_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"the checkpoint needs .* MB, and the disk has .* MB free; .*--out"):
        require_space(tmp_path / "not" / "there", 10**18, what="the checkpoint")


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_folder_is_held_against_a_second_program(tmp_path: Path) -> None:
    with (
        held(tmp_path / "new", doing="training"),
        pytest.raises(RunError, match="new: another process is training here; wait for it, or give another --out"),
        held(tmp_path / "new", doing="training"),
    ):
        pass
    with held(tmp_path / "new", doing="training"):
        pass


def test_a_killed_process_lets_go_of_its_lock(tmp_path: Path) -> None:
    code = f"""
import pathlib, time
from matryoshka_text.files import added_to_folder, held, locked
with held(pathlib.Path({str(tmp_path)!r}), doing="training"), locked(pathlib.Path({str(tmp_path / "rows")!r})):
    print("held", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        with pytest.raises(RunError, match="another process is encoding here"), held(tmp_path, doing="encoding"):
            pass
        other.kill()
        other.wait()
    with held(tmp_path, doing="encoding"), locked(tmp_path / "rows"):
        pass


def test_a_file_stays_locked_until_the_other_thread_is_done(tmp_path: Path) -> None:
    begun, done = threading.Event(), threading.Event()

    def waits() -> None:
        begun.set()
        with locked(tmp_path / "rows"):
            done.set()

    with locked(tmp_path / "rows"):
        thread = threading.Thread(target=waits)
        thread.start()
        assert begun.wait(10) and not done.wait(0.2)
    assert done.wait(10)
    thread.join()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="file: is a file; allowed: a folder"), held(tmp_path / "file", doing="training"):
        pass
    with (
        pytest.raises(RunError, match=r"cannot be written \(.*\); give another folder"),
        held(tmp_path / "file" / "run", doing="training"),
    ):
        pass


def test_a_folder_that_was_held_for_nothing_is_gone_again(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), held(tmp_path / "runs" / "one", doing="training"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "there").mkdir()
    with held(tmp_path / "there", doing="training"):
        pass
    with held(tmp_path / "runs" / "two", doing="training"):
        (tmp_path / "runs" / "two" / "result").write_text("x")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "runs",
        "runs/two",
        "runs/two/result",
        "there",
    ]


def test_what_a_kill_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".model.abc.part" / "deep").mkdir(parents=True)
    (tmp_path / ".a.json.x.part").write_text("half")
    (tmp_path / "a.json").write_text("whole")
    sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    sweep(tmp_path / "not there")


@pytest.mark.skipif(os.name != "posix", reason="only there can a process be looked at without harm")
def test_in_a_shared_folder_only_what_the_dead_left_is_swept(tmp_path: Path) -> None:
    code = f"""
import os, pathlib, sys
from matryoshka_text import files
os.fsync = lambda handle: print("writing", flush=True) or sys.stdin.read()
files.write_whole(pathlib.Path({str(tmp_path / "deep" / "a.json")!r}), "x")
"""
    (tmp_path / ".a.elsewhere-1.x.part").write_text("half")
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        (half,) = (tmp_path / "deep").iterdir()
        sweep_shared(tmp_path)
        assert half.exists()
        other.kill()
        other.wait()
    sweep_shared(tmp_path)
    assert not half.exists()
    assert (tmp_path / ".a.elsewhere-1.x.part").exists()
    sweep_shared(tmp_path / "not there")


def others(folder: Path) -> Path:
    """A model's folder in a repository of its owner."""
    (folder / ".git" / "objects").mkdir(parents=True)
    (folder / ".git" / "objects" / "ab").write_text("theirs")
    (folder / ".git" / "link").symlink_to("objects/ab")
    (folder / "1_Dense").mkdir()
    for name in ("model.safetensors", "config.json", "1_Dense/config.json", "model-1.safetensors"):
        (folder / name).write_text("old")
    return folder


def put_new(folder: Path) -> None:
    with added_to_folder(folder, replacing=("model*.safetensors",)) as beside:
        (beside / "1_Dense").mkdir()
        for name in ("model.safetensors", "config.json", "1_Dense/config.json"):
            (beside / name).write_text("new")


def models_files(folder: Path) -> dict[str, str]:
    found = (file for file in folder.rglob("*") if file.is_file() and ".git" not in file.parts)
    return {file.relative_to(folder).as_posix(): file.read_text() for file in found}


NEW = dict.fromkeys(("model.safetensors", "config.json", "1_Dense/config.json"), "new")


@pytest.mark.parametrize("inside", [False, True])
def test_other_peoples_files_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool) -> None:
    folder = others(tmp_path / "m")
    if inside:
        monkeypatch.chdir(folder)
    put_new(folder)
    assert models_files(folder) == NEW
    assert (folder / ".git" / "objects" / "ab").read_text() == "theirs"
    assert (folder / ".git" / "link").readlink() == Path("objects/ab")
    assert [one.name for one in tmp_path.iterdir()] == ["m"]
    assert (Path.cwd() == folder) is inside


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process that ends at once")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_kill_leaves_the_old_folder_or_the_new_one(tmp_path: Path) -> None:
    seen = set()
    for last in range(40):
        folder = others(tmp_path / str(last) / "m")
        before = models_files(folder)
        if (child := os.fork()) == 0:
            for owner, name in ((Path, "rename"), (Path, "replace"), (Path, "unlink"), (os, "link"), (os, "unlink")):
                setattr(owner, name, _ending(getattr(owner, name), last))
            put_new(folder)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        # Between two renames it stands next to its place.
        found = models_files(folder if folder.exists() else folder.parent / ".m.old")
        assert found in (before, NEW), last
        seen.add(found == NEW)
        if status == 0:
            break
    assert status == 0 and last > 4 and seen == {True, False}


def _ending(call: Callable[..., object], last: int, calls: list[int] = []) -> Callable[..., object]:  # noqa: B006
    def one(*arguments: object, **words: object) -> object:
        calls.append(0)
        if len(calls) > last:
            os._exit(9)
        return call(*arguments, **words)

    return one
