"""A user's own catalog rows. In: a reference to a module or a file. Out: its features."""

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from ploutos.errors import FeatureError
from ploutos.features.feature import Feature


def load_features(reference: str) -> tuple[Feature, ...]:
    """Load rows from `module:attribute`, `path.py:attribute`, or the `FEATURES` of either.

    Raises
    ------
    FeatureError
        If there is no such module or attribute, if it cannot be imported, or if it holds no
        feature.
    """
    place, _, attribute = reference.partition(":")
    name = attribute or "FEATURES"
    module = _load_file(Path(place)) if place.endswith(".py") else _import(place)
    if not hasattr(module, name):
        raise FeatureError(
            f"expected the features of {place} under the name '{name}', which it does not have. "
            "Say where they are: module:attribute or file.py:attribute."
        )
    found = getattr(module, name)
    rows = (found,) if isinstance(found, Feature) else found
    if not isinstance(rows, Sequence) or not rows or not all(isinstance(x, Feature) for x in rows):
        raise FeatureError(
            f"expected a feature or a sequence of them as '{name}' in {place}, received "
            f"{_kind(found)}. A feature is a `ploutos.features.Feature`."
        )
    return tuple(rows)


def _kind(found: object) -> str:
    if isinstance(found, Sequence) and not isinstance(found, str):
        strange = next((x for x in found if not isinstance(x, Feature)), None)
        inside = f"holds an object of type {type(strange).__name__}" if found else "is empty"
        return f"a {type(found).__name__} that {inside}"
    return f"an object of type {type(found).__name__}"


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FeatureError(
            f"expected a Python file with features, received {path}, which is no file in "
            f"{Path.cwd()}."
        )
    # A name of its own: a file called `statistics.py` must not take the place of the library's.
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    name = f"ploutos_own_{path.stem}_{digest}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise FeatureError(f"expected a Python file with features, received {path}")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        raise _broken(str(path), error) from error
    return module


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise FeatureError(
            f"expected an importable module, received '{name}': {error}. Run from the folder that "
            "holds it, or name the file: path/to/file.py:FEATURES."
        ) from error
    except Exception as error:
        raise _broken(name, error) from error


def _broken(place: str, error: Exception) -> FeatureError:
    """Name the line of the user's module at which it stopped."""
    if isinstance(error, SyntaxError):
        return FeatureError(f"{place} is not Python: {error.msg}, line {error.lineno}")
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).name == Path(place).name]
    line = f"line {own[-1].lineno}" if own else f"{frames[-1].filename}, line {frames[-1].lineno}"
    return FeatureError(f"{place} cannot be imported: {type(error).__name__}, {line}: {error}")
