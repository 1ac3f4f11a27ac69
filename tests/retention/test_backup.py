"""A backup comes back as it was, or not at all."""

import gzip
import io
import json
import stat
import tarfile
import zlib
from dataclasses import asdict
from pathlib import Path

import pyrage
import pytest
from sqlalchemy import select

from retention.db import Database
from retention.db.migrate import upgrade
from retention.db.tables import RoleGrant
from retention.errors import BadInput
from retention.installation.backup import backup, restore
from retention.installation.backup_encryption import BackupKey
from retention.lake import Lake
from retention.settings import Settings
from tests.terminal_text import terminal_text
from tests.world import add, scalars


@pytest.fixture
def home(tmp_path) -> Settings:
    import pandas as pd

    settings = Settings(home=tmp_path / "home", _env_file=None)
    upgrade(settings)
    database = Database.of(settings)
    add(database, RoleGrant(user_id="U0LEAD", role="approver", granted_by="U0ADMIN"))
    Lake.open(settings).upsert("items", pd.DataFrame({"item_id": ["i1"], "title": ["Tea"]}))
    assert settings.key
    (settings.home / "broker").mkdir()
    (settings.home / "broker" / "valkey.log").write_text("not ours to keep")
    yield settings
    database.dispose()


def test_restore_returns_the_saved_installation(home, tmp_path):
    file = tmp_path / "all.tar.gz"
    with Database.of(
        home
    ).transaction() as session:  # somebody is writing meanwhile: that is not in it
        session.add(RoleGrant(user_id="U0NEW", role="approver", granted_by="U0ADMIN"))
        session.flush()
        created = backup(home, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    new_home = Settings(home=tmp_path / "there", _env_file=None)
    assert restore(new_home, file).files == created.files
    assert (new_home.key, upgrade(new_home)) == (home.key, created.revision)
    assert Lake.open(new_home).table("items").execute()["title"].tolist() == ["Tea"]
    assert scalars(Database.of(new_home), select(RoleGrant.user_id)) == ["U0LEAD"]
    assert not (new_home.home / "broker").exists()
    assert stat.S_IMODE((new_home.home / "secret.key").stat().st_mode) == 0o600
    with pytest.raises(BadInput, match="not empty"):
        restore(new_home, file)
    with pytest.raises(BadInput, match="there already"):
        backup(home, file)


def archive(*members) -> bytes:
    """Return an archive of members (header, content)."""
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w:gz") as tar:
            for header, content in members:
                tar.addfile(header, io.BytesIO(content))
        return file.getvalue()


def member(name: str, content: bytes = b"x", **header):
    created = tarfile.TarInfo(name)
    created.size = len(content)
    for field, value in header.items():
        setattr(created, field, value)
    return created, content


def harmed_late(content: bytes) -> bytes:
    """Harm a header within, where reading ends without a word."""
    plain = bytearray(gzip.decompress(content))
    plain[plain.rindex(b"ustar") - 100] ^= 0xFF
    return gzip.compress(plain)


def with_wrong_size(content: bytes) -> bytes:
    plain = bytearray(gzip.decompress(content))
    header = tarfile.TarInfo.frombuf(bytes(plain[:512]), "utf-8", "strict")
    header.size //= 2
    plain[:512] = header.tobuf(tarfile.USTAR_FORMAT)
    return gzip.compress(plain)


def with_a_foreign_block(content: bytes) -> bytes:
    """End with a block of a kind that there is not."""
    packing = zlib.compressobj(wbits=31)
    begun = packing.compress(gzip.decompress(content)[:100_000])
    return begun + packing.flush(zlib.Z_FULL_FLUSH) + 16 * b"\x07"


def changed(content: bytes) -> bytes:
    return gzip.compress(gzip.decompress(content).replace(b"U0LEAD", b"U0EVIL"))


@pytest.mark.nightly_after(3)
@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda content: content[: len(content) // 2], "not whole"),
        (harmed_late, "not whole"),
        (changed, "state.db is not what was saved"),
        (lambda _: b"no archive", "no backup, or not whole"),
        (lambda _: archive(member("../escaped")), "no backup, or not whole"),
        (lambda _: None, "There is no file"),
        (with_a_foreign_block, "no backup, or not whole"),
        (lambda _: archive(member("manifest.json", b"[]")), "no backup that this version can read"),
        (with_wrong_size, "othing was restored"),
    ],
)
def test_damaged_backup_restores_nothing(home, tmp_path, harm, says):
    file, new_home = tmp_path / "all.tar.gz", Settings(home=tmp_path / "there", _env_file=None)
    backup(home, file)
    content = harm(file.read_bytes())
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(BadInput, match=says) as error:
        restore(new_home, file)
    assert "Errno" not in str(error.value)
    assert not new_home.home.exists() or not any(new_home.home.iterdir())
    assert not (tmp_path / "escaped").exists()


def rewritten(file, change) -> None:
    """Change the members of a backup: a list of (header, content)."""
    with tarfile.open(file, "r:gz") as tar:
        members = [(each, tar.extractfile(each).read()) for each in tar.getmembers()]
    change(members)
    file.write_bytes(archive(*members))


def with_first(name):
    """Return a change that puts a file in front."""
    return lambda members: members.insert(0, member(name))


def listed(members, name: str) -> None:
    """Add a file to the manifest that the archive lacks."""
    header, content = members[-1]
    manifest = json.loads(content)
    manifest["files"][name] = "0" * 64
    members[-1] = member(header.name, json.dumps(manifest).encode())


@pytest.mark.nightly_after(4)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            with_first("lake/extra.parquet"),
            "'lake/extra.parquet', which its manifest does not list",
        ),
        (
            lambda members: members.append(member("late")),
            "'late', which its manifest does not list",
        ),
        (with_first("../escaped"), r"'\.\./escaped', which would be written outside"),
        (with_first("/tmp/escaped"), "'/tmp/escaped', which would be written outside"),
        (with_first("./state.db"), r"'\./state.db', which would be written outside"),
        (with_first("state.db"), "'state.db' more than once"),
        (lambda members: members.insert(0, members[-1]), "'manifest.json' more than once"),
        (
            lambda members: members.append(member("lake", b"", type=tarfile.DIRTYPE)),
            "'lake', which its manifest does not",
        ),
        (
            lambda members: members.__setitem__(
                0, member("state.db", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
            ),
            "'state.db', which is not a plain file",
        ),
        (
            lambda members: listed(members, "lake/gone"),
            "lacks 'lake/gone', which its manifest lists",
        ),
        (
            lambda members: members.__setitem__(0, member("state.db", members[0][1] + b"x")),
            "bytes of files; its manifest says",
        ),
    ],
)
def test_backup_with_unexpected_member_restores_nothing(home, tmp_path, change, says):
    file, new_home = tmp_path / "all.tar.gz", Settings(home=tmp_path / "there", _env_file=None)
    backup(home, file)
    rewritten(file, change)
    with pytest.raises(BadInput, match=says) as refused:
        restore(new_home, file)
    assert "Nothing was restored" in str(refused.value)
    assert "take the original, or another backup" in str(refused.value)
    assert not new_home.home.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.tar.gz", "home"]


def test_backup_without_the_key_says_so(home, tmp_path):
    with_key = backup(home, tmp_path / "with.tar.gz")
    assert (with_key.contains, with_key.contains_key) == (["database", "lake", "key"], True)
    key = home.key.decode()
    (home.home / "secret.key").unlink()
    configured = Settings(home=home.home, secret_key=key, _env_file=None)
    without = backup(configured, tmp_path / "without.tar.gz")
    assert (without.contains, without.contains_key, without.key) == (
        ["database", "lake"],
        False,
        "elsewhere",
    )
    assert key.encode() not in gzip.decompress((tmp_path / "without.tar.gz").read_bytes())
    for name, key_given, state in (
        ("none", "", "missing"),
        ("right", key, "elsewhere"),
        ("wrong", "other" * 8, "different"),
    ):
        new_home = Settings(home=tmp_path / name, secret_key=key_given, _env_file=None)
        restored = restore(new_home, tmp_path / "without.tar.gz")
        assert (restored.contains_key, restored.key) == (False, state)
        output = terminal_text("bot/restore", asdict(restored), new_home)
        assert ("WARNING" in output) == (state != "elsewhere")
    assert "is NOT inside" in terminal_text("bot/backup", asdict(without), home)
    assert "is inside: keep the file as safe" in terminal_text("bot/backup", asdict(with_key), home)


def test_backup_with_a_stale_key_file_does_not_contain_the_key(home, tmp_path):
    configured = Settings(home=home.home, secret_key="another" * 5, _env_file=None)
    assert not backup(configured, tmp_path / "all.tar.gz").contains_key


def test_concurrent_backup_to_the_same_file_is_refused(home, tmp_path):
    """The second one failed with an errno, and deleted what the first had written."""
    under_way = tmp_path / ".all.tar.gz.part"
    under_way.write_bytes(b"the first one's")
    with pytest.raises(BadInput, match="another backup to this file is under way, or was killed"):
        backup(home, tmp_path / "all.tar.gz")
    assert under_way.read_bytes() == b"the first one's"


def test_backup_of_external_database_or_lake_is_refused(home, tmp_path):
    other = home.model_copy(update={"models_url": "s3://bucket/models"})
    with pytest.raises(BadInput, match="models"):
        backup(other, tmp_path / "x.tar.gz")
    nothing = Settings(home=tmp_path / "nothing", _env_file=None)
    with pytest.raises(BadInput, match="retention init"):
        backup(nothing, tmp_path / "x.tar.gz")


@pytest.fixture
def identity(tmp_path) -> Path:
    """The file of an age key, as age-keygen writes it."""
    file = tmp_path / "key.txt"
    key = pyrage.x25519.Identity.generate()
    file.write_text(f"# public key: {key.to_public()}\n{key}\n")
    return file


def _recipient(identity: Path) -> BackupKey:
    return BackupKey(recipient=identity.read_text().split()[3])


def test_backup_for_a_recipient_is_restored_with_its_key(home, tmp_path, identity):
    file = tmp_path / "desk.age"
    written = backup(home, file, _recipient(identity))
    assert (written.protection, stat.S_IMODE(file.stat().st_mode)) == ("recipient", 0o600)
    plain = pyrage.decrypt(file.read_bytes(), [pyrage.x25519.Identity.from_str(_key(identity))])
    assert home.key in gzip.decompress(plain)  # which an age program opens, too
    assert not list((home.home / "scratch").iterdir())
    new_home = Settings(home=tmp_path / "there", _env_file=None)
    restored = restore(new_home, file, BackupKey(identity=identity))
    assert (restored.files, restored.protection) == (written.files, "recipient")
    assert new_home.key == home.key


def _key(identity: Path) -> str:
    return identity.read_text().splitlines()[-1]


@pytest.mark.parametrize("wrong", ["none", "other", "no key", "cut", "cut in the header"])
def test_encrypted_backup_stays_closed_to_a_wrong_key(home, tmp_path, identity, wrong):
    file = tmp_path / "desk.age"
    backup(home, file, _recipient(identity))
    content = file.read_bytes()
    if wrong == "other":
        identity.write_text(str(pyrage.x25519.Identity.generate()))
    elif wrong == "no key":
        identity.write_text("hunter2")
    elif wrong.startswith("cut"):
        file.write_bytes(content[: 100 if "header" in wrong else -5])
    new_home = Settings(home=tmp_path / "there", _env_file=None)
    with pytest.raises(BadInput) as refused:
        restore(new_home, file, None if wrong == "none" else BackupKey(identity=identity))
    assert "\n" not in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert not new_home.home.exists()
    assert not list(tmp_path.glob(".restoring-*"))


@pytest.mark.nightly  # age makes each guess of a passphrase take a second or two
def test_backup_opens_with_its_passphrase_only(home, tmp_path):
    file, key = tmp_path / "desk.age", BackupKey(passphrase="correct horse battery")
    assert backup(home, file, key).protection == "passphrase"
    assert home.key not in file.read_bytes()
    new_home = Settings(home=tmp_path / "there", _env_file=None)
    for wrong in ("", "correct horse"):
        with pytest.raises(BadInput) as refused:
            restore(new_home, file, BackupKey(passphrase=wrong))
        assert str(refused.value).count(".") == str(file).count(".") + 1  # one sentence
    assert restore(new_home, file, key).protection == "passphrase"
    assert new_home.key == home.key


def test_wrong_recipient_or_short_passphrase_is_refused_before_the_work(home, tmp_path):
    for key, field in (
        (BackupKey(recipient="age1wrong"), "recipient"),
        (BackupKey(passphrase="short"), "passphrase"),
    ):
        with pytest.raises(BadInput) as refused:
            backup(home, tmp_path / "desk.age", key)
        assert refused.value.field == field
    assert "short" not in repr(key)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]
