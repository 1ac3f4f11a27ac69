"""Read a new source once, so that a mistake shows when it is added."""

from pathlib import Path
from typing import TYPE_CHECKING

from retention.connect.sources import places, query_source
from retention.errors import BadInput
from retention.lake import formats
from retention.lake.importing import mapping
from retention.lake.reading import sources as reading
from retention.lake.reading.archives import scratch_folder
from retention.lake.schema import BOUNCES, REDEMPTIONS, TABLES, Table
from retention.settings import Settings
from retention.text import gettext

if TYPE_CHECKING:
    from retention.connect.sources.source_records import NewSource
    from retention.lake import Lake


def try_source(lake: "Lake", settings: Settings, new: "NewSource") -> None:
    """Check that a source can be read and that its map fits.

    Nothing is imported.

    `lake`: its DuckDB reads the first file.
    """
    table = {"redemptions": REDEMPTIONS, "bounces": BOUNCES}.get(new.table_name or "")
    table = table or TABLES[new.table_name or "events"]
    with scratch_folder() as folder:
        mapped = _mapping(settings, new, table, folder)
        if new.kind == "query":
            url = new.secrets.get("url", new.location)
            state = query_source.read_state(url, new.query or "", new.watermark_column, {})
            columns, name = [*state.columns], gettext("the query")
        else:
            file = _first_file(settings, new, folder)
            with reading.open_source(lake.duckdb, str(file), mapped, None) as source:
                shaped = reading.reshape(lake.duckdb, source, mapped) if mapped else source
                columns, name = [*shaped.columns], source.name
                if new.format_name:
                    formats.check(new.format_name, columns, name)
        if mapped is None or not mapped.rows or new.kind != "query":
            checked = mapped or mapping.canonical_mapping(table, columns)
            mapping.check_mapping(checked, columns, name)


def _mapping(
    settings: Settings, new: "NewSource", table: Table, folder: Path
) -> mapping.Mapping | None:
    path = None
    if new.map_text is not None:
        path = folder / "map.toml"
        path.write_text(new.map_text, encoding="utf-8")
    return formats.mapping_for(table, settings.timezone, path, new.format_name)


def _first_file(settings: Settings, new: "NewSource", folder: Path) -> Path:
    options = places.driver_options(new.config, new.secrets)
    listed = places.files(settings, new.kind, new.location, options)
    if not listed:
        raise BadInput(gettext("{file} matches no file.").format(file=new.location))
    file = next((each for each in listed if not each.is_empty), listed[0])
    return file.fetch(folder)
