"""Offline twins of OpenAI's and Amazon Bedrock's fine-tuning, for the official clients, on this machine only.

    from afina.cloud import local_cloud
    with local_cloud():
        client = openai.OpenAI()            # the twin: nothing else changes
        bedrock = boto3.client("bedrock")

They really train, on the course's small base model. Their losses are of that model, never a provider's.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

from afina.child import Child
from afina.compat import new_boto_session
from afina.errors import CourseError, require
from afina.runtime import build_folder, course_root

NOTICE = "Gêmeos locais da OpenAI e do Bedrock: nada sai desta máquina, e as perdas e respostas são do modelo pequeno do curso."
_MARK = "# afina cloud"  # the first line of a file of variables: what lacks it is somebody else's
_IN_THE_WAY = tomllib.loads(Path(__file__).with_name("variables.toml").read_text(encoding="utf-8"))["in_the_way"]


class LocalCloud(Child):
    """A running pair of twins, with this process's variables pointed at it.

    `close()`, or the end of its `with` block or of this process, ends it and puts the variables back.
    """

    def __init__(self, options: dict):
        self._before: dict[str, str | None] = {}
        super().__init__("afina.cloud.server", options, "os gêmeos", failed="não subiram")
        self.variables: dict[str, str] = self.told
        self.url = self.variables["AWS_ENDPOINT_URL"]
        proxy = {name: ",".join(filter(None, ("127.0.0.1", os.environ.get(name)))) for name in ("NO_PROXY", "no_proxy")}
        self._before = _set_variables(dict.fromkeys(_IN_THE_WAY) | proxy | self.variables)

    def __repr__(self) -> str:
        return f"LocalCloud({self.url})"

    def close(self) -> None:
        """End the twins and put the environment variables back; a second call does nothing."""
        super().close()
        _set_variables(self._before)
        self._before = {}


def _set_variables(variables: Mapping[str, str | None]) -> dict[str, str | None]:
    """Give the variables of this process these values, None for none; what they were."""
    before = {name: os.environ.get(name) for name in variables}
    for name in variables:
        os.environ.pop(name, None)
    os.environ.update({name: value for name, value in variables.items() if value is not None})
    new_boto_session()
    return before


def local_cloud(
    folder: str | Path | None = None,
    *,
    base: str | Path | None = None,
    training_not_available: bool | None = None,
    port: int = 0,
    show: bool = True,
) -> LocalCloud:
    """Start the twins in a child process and point this process's OpenAI and AWS variables at them.

    `folder` keeps files, jobs and models from one start to the next; without it they go when the twins end. `base` is
    the folder of the base model (AFINA_CLOUD_BASE, else models/llama-base). `training_not_available=True`
    (AFINA_CLOUD_TRAINING_NOT_AVAILABLE=1) refuses new OpenAI jobs as the service does to new accounts. CourseError:
    no base model there, the folder in use by other twins, or the child did not start.
    """
    base = Path(base or os.environ.get("AFINA_CLOUD_BASE") or course_root() / "models" / "llama-base").resolve()
    require((base / "config.json").is_file(), "não há modelo nesta pasta.", "Rode `make models` para refazê-lo.", base)
    if training_not_available is None:
        training_not_available = os.environ.get("AFINA_CLOUD_TRAINING_NOT_AVAILABLE") == "1"
    cloud = LocalCloud({
        "folder": None if folder is None else Path(folder).resolve(), "base": base, "port": port,
        "training_not_available": training_not_available,
    })  # fmt: skip
    if show:
        print(NOTICE)
    return cloud


def run_until_interrupted(folder: Path | None = None, **options) -> None:
    """The twins in a terminal, until Ctrl+C, with their variables in a file only you can read; `options` as `local_cloud`'s.

    `folder` is build/cloud unless given. CourseError: they ended by themselves.
    """
    folder = folder or build_folder() / "cloud"
    with local_cloud(folder, **options) as cloud:
        file = write_variables(folder, cloud.variables)
        print(f"Endereço: {cloud.url}\nVariáveis: {file}")
        how = f"Get-Content {file} | Invoke-Expression" if os.name == "nt" else f". {file}"
        print(f"Em outro terminal: {how}\nCtrl+C encerra.", flush=True)
        try:
            assert cloud.process
            cloud.process.wait()
            remedy = "O motivo, se houver, está em twin.log. Suba de novo: os jobs continuam de onde pararam."
            raise CourseError("os gêmeos terminaram sozinhos.", remedy, folder)
        except KeyboardInterrupt:
            print("\nEncerrado.")
        finally:
            if _is_ours(file):
                file.unlink(missing_ok=True)


def write_variables(folder: Path, variables: dict[str, str]) -> Path:
    """The variables as a script for this system's shell, for its owner's eyes alone. CourseError: not our file is there."""
    windows = os.name == "nt"
    file = folder / ("env.ps1" if windows else "env.sh")
    form = '$env:{} = "{}"\n' if windows else "export {}='{}'\n"
    remedy = "Mude o nome dele, ou use outra pasta (--folder)."
    require(_is_ours(file), "este arquivo não é do `afina cloud`, que não o apaga.", remedy, file)
    file.unlink(missing_ok=True)
    file.touch(0o600, exist_ok=False)
    file.write_text(f"{_MARK}\n" + "".join(form.format(*pair) for pair in variables.items()), encoding="utf-8")
    return file


def _is_ours(file: Path) -> bool:
    return not os.path.lexists(file) or (file.is_file() and file.read_bytes().splitlines()[:1] == [_MARK.encode()])
