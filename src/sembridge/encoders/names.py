"""Names -> folders: bundled data, folders on disk, repositories of the Hugging Face hub."""

import contextlib
import difflib
import logging
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from sembridge.encoders.model_folder import one_line
from sembridge.errors import MissingExtraError, SembridgeError

logger = logging.getLogger(__name__)

MINI_PACKAGE, MINI_DISTRIBUTION = "sembridge_mini", "sembridge-mini"
TOKENIZER_PATTERNS = ["*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja", "README.md"]
IGNORED_PATTERNS = ["onnx/*", "openvino/*", "*checkpoint-*/*"]


def mini_names() -> list[str]:
    """Names of the bundled models, tokenizers and data, each with its mini/ in front; none without their package."""
    root = _mini_root()
    found = [] if root is None else [p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(("_", "."))]
    return sorted(f"mini/{name}" for name in found)


def mini_folder(name: str) -> Path:
    """The folder of the bundled `name`, such as mini/splade-en.

    Raises:
        MissingExtraError: the package that holds the bundle is not installed.
        SembridgeError: nothing of that name is bundled.
    """
    root = _mini_root()
    if root is None:
        raise MissingExtraError(
            f"{name} is part of the package {MINI_DISTRIBUTION}, which is not installed: pip install "
            f"{MINI_DISTRIBUTION} (from a checkout: pip install ./mini)."
        )
    if name not in mini_names():
        raise SembridgeError(
            f"Nothing is bundled under {name!r}; expected one of {', '.join(mini_names())}."
            f" A folder of your own is given as ./{name}.{did_you_mean(name, mini_names())}"
        )
    return root / name.removeprefix("mini/")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a refusal: the known name that this one is nearest to; nothing where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {near[0]}?" if near else ""


def folders_beside(path: Path) -> list[str]:
    """Folders that may have been meant, as they would be given."""
    try:
        return [str(other) for other in path.parent.iterdir() if other.is_dir() and not other.name.startswith(".")]
    except OSError:
        return []


def check_name(
    name: str | Path, *, trust_remote_code: bool = False, allow_pickle: bool = False, weights: bool = True
) -> None:
    """Refuses a name that stands for no model, before torch and models are loaded; arguments as of `resolve`.

    A hub id that is in the cache, wholly or in part, is left to its loading: asking the hub twice costs a second.

    Raises:
        SembridgeError: as `resolve`.
    """
    text = str(name).strip()
    if text and not text.startswith("mini/") and not _looks_like_path(text) and not Path(text).expanduser().exists():
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        with contextlib.suppress(HFValidationError):
            files = ("config.json", "tokenizer_config.json", "modules.json")
            if any(isinstance(try_to_load_from_cache(text, file), str) for file in files):
                return
    if text.endswith(_CORPUS_FILES) and Path(text).expanduser().is_file():
        raise SembridgeError(f"{text} is a corpus, and an encoder was expected here: the encoder comes first.")
    folder = resolve(name, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle, weights=weights)
    if is_data_folder(folder):
        raise SembridgeError(f"{text} holds documents, and a model was expected here: the encoder comes first.")


def is_model_folder(folder: Path) -> bool:
    """Whether a model lies in it."""
    return any((folder / name).is_file() for name in _MODEL_FILES)


def is_data_folder(folder: Path) -> bool:
    """Whether retrieval data lie in it, and no model."""
    return any(folder.glob("corpus.*")) and not is_model_folder(folder)


_MODEL_FILES = ("modules.json", "config.json")
_CORPUS_FILES = (".jsonl", ".jsonl.gz", ".parquet")


def is_here(name: str) -> bool:
    """Whether the weights behind a name lie on this machine: nothing is downloaded to load it."""
    text = name.strip()
    if text.startswith("mini/") or _looks_like_path(text) or Path(text).expanduser().exists():
        return True
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    with contextlib.suppress(HFValidationError):
        return isinstance(try_to_load_from_cache(text, "model.safetensors"), str)
    return False


def folder_here(name: str | Path) -> Path | None:
    """The folder behind mini/NAME or a folder's own name; None for anything else, which the hub would be asked for."""
    text = str(name).strip()
    if text.startswith("mini/"):
        return mini_folder(text.removesuffix("/"))
    path = Path(text).expanduser()
    return path if path.is_dir() else None


def _mini_root() -> Path | None:
    """Where the bundle's package lies; None where it is not installed."""
    spec = find_spec(MINI_PACKAGE)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def resolve(
    name: str | Path,
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    weights: bool = True,
) -> Path:
    """The folder behind `name`: mini/NAME first, then a folder, then a hub id, which is downloaded or read from cache.

    HF_HOME, HF_TOKEN and HF_HUB_OFFLINE apply. Only configuration, tokenizer and safetensors files are downloaded,
    code only with `trust_remote_code`, pytorch_model.bin only with `allow_pickle` where there is no safetensors file.

    Raises:
        SembridgeError: there is no such folder, or the hub has or gives no such repository.
    """
    text = str(name).strip()
    if not text:
        raise SembridgeError("The name is empty; expected a folder, a hub id such as naver/splade-v3, or mini/NAME.")
    if text.startswith("mini/"):
        return mini_folder(text.removesuffix("/"))
    path = Path(text).expanduser()
    if path.is_dir():
        if revision is not None:
            raise SembridgeError(f"Revision {revision} was given for the folder {text}; only a hub id has revisions.")
        return path
    if path.exists():
        raise SembridgeError(f"{text} is a file; expected the folder that holds it, a hub id or mini/NAME.")
    if isinstance(name, Path) or _looks_like_path(text):
        raise SembridgeError(
            f"The folder {text} does not exist; expected a folder, a hub id or mini/NAME."
            f"{did_you_mean(text, folders_beside(path))}"
        )
    return _snapshot(text, revision, _patterns(trust_remote_code, weights), allow_pickle=allow_pickle and weights)


def lasting_name(name: str | Path) -> str:
    """The name as a file keeps it: a folder or file that lies here by its absolute path, so that it means the same
    from any directory; mini/NAME and hub ids as they are."""
    text = str(name)
    path = Path(text).expanduser()
    return text if text.startswith("mini/") or not path.exists() else str(path.resolve())


def _looks_like_path(text: str) -> bool:
    return text.startswith((".", "/", "~")) or text.endswith("/") or "\\" in text or text.count("/") > 1


def _patterns(trust_remote_code: bool, weights: bool) -> list[str]:
    return [*TOKENIZER_PATTERNS, *(["*.safetensors"] if weights else []), *(["*.py"] if trust_remote_code else [])]


def _snapshot(repository: str, revision: str | None, patterns: list[str], *, allow_pickle: bool) -> Path:
    """The folder of the repository's snapshot in the hub's cache, with the files that match `patterns`."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import IncompleteSnapshotError

    with _hub_refusals(repository, revision):
        try:
            folder = snapshot_download(
                repository, revision=revision, allow_patterns=patterns, ignore_patterns=IGNORED_PATTERNS
            )
        except IncompleteSnapshotError as error:
            # offline, and another program cached a part: what is needed may still be there, so look at the folder
            folder = error.snapshot_path
    if allow_pickle and not any(Path(folder).rglob("*.safetensors")):
        return _snapshot(repository, revision, [*patterns, "pytorch_model*.bin"], allow_pickle=False)
    return Path(folder)


@contextlib.contextmanager
def _hub_refusals(repository: str, revision: str | None) -> Iterator[None]:
    """Turns the hub's many errors into refusals of one line."""
    from huggingface_hub import constants, errors

    try:
        yield
    except errors.HFValidationError as error:
        raise SembridgeError(
            f"{repository!r} is neither a folder nor mini/NAME nor a valid hub id; expected e.g. naver/splade-v3."
        ) from error
    except errors.GatedRepoError as error:
        raise SembridgeError(
            f"{repository} is gated on the hub; accept its conditions at {constants.ENDPOINT}/{repository}"
            " and set HF_TOKEN (or run `hf auth login`)."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise SembridgeError(
            f"{repository} has no revision {revision!r} on the hub; give a branch, tag or commit."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise SembridgeError(
            f"{repository} is neither a folder here nor a repository on the hub; check the spelling,"
            f" and set HF_TOKEN if it is private.{did_you_mean(repository, folders_beside(Path(repository)))}"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        raise SembridgeError(
            f"{repository} is no folder here and not in the cache {constants.HF_HUB_CACHE}, and {reason};"
            " give a folder, or connect once to download it."
            f"{did_you_mean(repository, folders_beside(Path(repository)))}"
        ) from error
    except Exception as error:  # the errors of httpx and of the file system have no common class
        raise SembridgeError(f"{repository} cannot be downloaded: {one_line(error)}") from error


def readme_path(name: str | Path) -> Path | None:
    """The README.md of a folder, of mini/NAME or of a hub id's snapshot; None where there is none in reach."""
    text = str(name)
    if text.startswith("mini/") or Path(text).is_dir():
        path = resolve(text) / "README.md"
        return path if path.is_file() else None
    if _looks_like_path(text):
        return None
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    with contextlib.suppress(HFValidationError):
        cached = try_to_load_from_cache(text, "README.md")
        if isinstance(cached, str):
            return Path(cached)
    try:
        with _hub_refusals(text, None):
            return Path(hf_hub_download(text, "README.md"))
    except SembridgeError as error:
        if not isinstance(error.__cause__, EntryNotFoundError):
            logger.info("%s", error)
        return None
