"""Files that hold other files or sheets: a ZIP archive becomes the table inside it, a workbook its rows as text; and what is wrong with packed ones."""

import errno
import re
import shutil
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

from retention.errors import BadInput
from retention.text import gettext

WORKBOOKS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
BEGINNINGS = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}


def unzipped(path: Path, folder: Path, kinds: Collection[str]) -> Path:
    """The one table in a ZIP archive, written into ``folder``.

    Parameters
    ----------
    kinds : collection of str
        Suffixes of what can be imported; other members (a read-me, a licence) are passed over.

    Raises
    ------
    BadInput
        Where it is no ZIP, is locked by a password, or holds no table or several.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            tables = [one for one in archive.infolist() if _is_table(one, kinds)]
            if len(tables) != 1:
                names = (
                    ", ".join(sorted(one.filename for one in tables)[:5])
                    or "nothing that can be imported"
                )
                raise BadInput(
                    gettext(
                        "{name} holds {names}; unpack it, and import each file by its name."
                    ).format(name=path.name, names=names)
                )
            target = (
                folder / Path(tables[0].filename).name
            )  # never a path of the archive's choosing
            with archive.open(tables[0]) as packed, target.open("wb") as plain:
                shutil.copyfileobj(packed, plain, 1 << 20)
            return target
    except RuntimeError as error:  # zipfile's word for a password
        raise BadInput(
            gettext("{name} is locked by a password; unpack it first.").format(name=path.name)
        ) from error
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise BadInput(
            gettext("{name} cannot be read as ZIP: {error}.").format(name=path.name, error=error)
        ) from error
    except (zlib.error, EOFError) as error:
        raise _damaged(path) from error
    except OSError as error:
        if (
            error.errno != errno.EINVAL
        ):  # it names a place before its own beginning; a full disk is none of its faults
            raise
        raise _damaged(path) from error


def _damaged(path: Path) -> BadInput:
    return BadInput(
        gettext("{name} is damaged or not whole; fetch it or pack it again.").format(name=path.name)
    )


def _is_table(member: zipfile.ZipInfo, kinds: Collection[str]) -> bool:
    name = Path(member.filename)
    hidden = name.name.startswith(".") or "__MACOSX" in name.parts
    suffixes = {suffix.lower() for suffix in name.suffixes[-2:]}
    return not member.is_dir() and not hidden and bool(suffixes & set(kinds))


def workbook(path: Path, folder: Path) -> tuple[Path, list[str]]:
    """The rows of a workbook as a Parquet file of text, and the sheets they come from.

    Sheets with the first one's columns follow one another, as where a shop keeps a year in each; others are left out.
    Whole numbers are written without a decimal point and moments as ISO 8601, so that ids stay ids.

    Raises
    ------
    BadInput
        Where it holds no rows.
    """
    import pandas as pd

    sheets = pd.read_excel(
        path, sheet_name=None, dtype=str, engine="calamine", keep_default_na=False, na_values=[""]
    )
    filled = {name: frame for name, frame in sheets.items() if len(frame)}
    if not filled:
        raise BadInput(
            gettext("{name} holds no rows below a line of column names.").format(name=path.name)
        )
    columns = list(next(iter(filled.values())).columns)
    alike = {name: frame for name, frame in filled.items() if list(frame.columns) == columns}
    whole = pd.concat(alike.values(), ignore_index=True)
    whole.columns = [str(name) for name in columns]
    target = folder / f"{path.stem}.parquet"
    whole.astype("string").to_parquet(target, index=False)
    left = [str(name) for name in sheets if name not in alike]
    return target, [
        *map(str, alike),
        *(f"{name} (left out: other columns or no rows)" for name in left),
    ]


def check_packing(path: Path, packing: str, said: str) -> None:
    """Of a file that could not be read, and what its reader ``said``: whether the packing is what is wrong.

    Raises
    ------
    BadInput
        Where it is.
    """
    beginning = BEGINNINGS[packing]
    with path.open("rb") as file:
        packed = file.read(len(beginning)) == beginning
    if not packed:
        raise BadInput(
            gettext(
                "{name} is not packed by {packing}, though its name says so; name it {stem}, "
                "or pack it again."
            ).format(name=path.name, packing=packing, stem=path.stem)
        )
    if re.search("inflate|zstd|decompress|truncated", said, re.IGNORECASE):
        raise _damaged(path)
