"""Drivers of databases: which one a URL asks for, and what to do where it is not installed."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import make_url
from sqlalchemy.exc import NoSuchModuleError

from retention.errors import BadInput
from retention.text import gettext

_PACKAGES = {"MySQLdb": "mysqlclient"}  # of modules that are called otherwise


@contextmanager
def driven(url: str) -> Iterator[None]:
    """Around what makes an engine of ``url``: a driver that is missing is named, with the remedy.

    Raises
    ------
    BadInput
    """
    try:
        yield
    except ModuleNotFoundError as error:
        made, module = make_url(url), str(error.name)
        package = _PACKAGES.get(module, module)
        raise BadInput(
            gettext(
                "{drivername}:// needs the Python driver {module}, which is not installed "
                "here; install it (pip install {package}), or name in the URL one that is: "
                "{get_backend_name}+DRIVER://…"
            ).format(
                drivername=made.drivername,
                module=module,
                package=package,
                get_backend_name=made.get_backend_name(),
            )
        ) from None
    except NoSuchModuleError:
        raise BadInput(
            gettext(
                "There is no database {drivername}:// that SQLAlchemy knows; write the URL "
                "like postgresql://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE, or install "
                "the package that brings it."
            ).format(drivername=make_url(url).drivername)
        ) from None
