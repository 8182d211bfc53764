"""Rules about what a machine gets and starts: mounts, versions, Ray's token, and the commands that start Ray.

Takes: a cluster file that its schemas have passed. Gives: its problems.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from ftray.capacity.cluster_file import ClusterFile
from ftray.capacity.local_ray import WORKER_ENVIRONMENT

COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
"""The lists of commands; Ray fills in a list of its own for each that is missing."""

PARTS = ("ftray", "tune_configs", "pyproject.toml", "constraints.txt", "README.md")
"""What an installation from the working tree needs of it."""
TOKEN = "~/.ray/auth_token"
HEAVY = (".", "./", ".venv", "runs", "data")
AUTOSCALING = "--autoscaling-config=~/ray_bootstrap_config.yaml"


def project_root(path: Path) -> Path:
    """The project of a cluster file: the folder that `ray up` runs in and that relative mounts begin at."""
    return next((folder for folder in path.resolve().parents if (folder / "constraints.txt").exists()), Path.cwd())


def pinned_versions(root: Path) -> dict[str, str]:
    """The versions in a project's constraints.txt by package, in lower case with dashes; empty without that file."""
    try:
        text = (root / "constraints.txt").read_text()
    except OSError:
        return {}
    return {_canonical(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)}


def _canonical(name: str) -> str:
    """A package's one name.

    >>> _canonical("PyYAML"), _canonical("dm_tree")
    ('pyyaml', 'dm-tree')
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def _lines(file: ClusterFile, *names: str) -> Iterator[tuple[str, str]]:
    """The lines of the command lists of these names, of all if none is named, each with its key."""
    for name in names or COMMANDS:
        for number, line in enumerate(file.tree.get(name) or ()):
            yield f"{name}[{number}]", str(line)


def mounts(file: ClusterFile) -> Iterator[str]:
    """What Ray copies to every machine: all that is installed there, and Ray's token; never data."""
    root = project_root(file.path)
    given = {str(target): str(source) for target, source in (file.tree.get("file_mounts") or {}).items()}
    for target, source in given.items():
        here = root / Path(source).expanduser()
        if source in HEAVY or here.resolve() == root.resolve():
            yield (
                f"file_mounts.{target}: mount the project's parts one by one ({', '.join(PARTS)}), got {source!r}: "
                "Ray reads every file of a mount each time, whatever is excluded"
            )
        elif not here.exists():
            make = "; make it once with: ray get-auth-token --generate" if source == TOKEN else ""
            yield f"file_mounts.{target}: must exist on this machine, but {here} does not{make}"
    lines = list(_lines(file, "setup_commands", "head_setup_commands", "worker_setup_commands"))
    installing = {key.partition("[")[0] for key, line in lines if re.search(r"pip install\b.*ftray", line)}
    everywhere = "setup_commands" in installing or {"head_setup_commands", "worker_setup_commands"} <= installing
    if not file.tree.get("docker") and not everywhere:
        yield "setup_commands: must install ftray on all machines: no line does, and no image is named that may hold it"
    for key, line in lines:
        for folder in re.findall(r"pip install\b.* -e [\"']?((?:~|\$HOME)/[\w./-]+)", line):
            folder = folder.replace("$HOME", "~")
            for part in PARTS:
                if f"{folder}/{part}" not in given:
                    yield f"file_mounts.{folder}/{part}: is missing, and {key} installs from {folder}; add: {part}"
    if TOKEN not in given:
        yield f"file_mounts.{TOKEN}: is missing: every machine needs the same token; add: {TOKEN}"


def token(file: ClusterFile) -> Iterator[str]:
    """Ray 2.60 asks for a token on the head as soon as its file exists, elsewhere only if the mode is set."""
    setting = "RAY_AUTH_MODE=token"
    everywhere = any(setting in line for _, line in _lines(file, "setup_commands"))
    for key, line in _lines(file, "head_start_ray_commands", "worker_start_ray_commands"):
        if "ray start" in line and not everywhere and setting not in line:
            yield (
                f"setup_commands: must export {setting} in ~/.bashrc, or workers never join; at the latest {key}, got "
                f"{line!r}"
            )


def versions(file: ClusterFile) -> Iterator[str]:
    """Versions: those of constraints.txt and no other, a whole version of Python, no image tag that moves."""
    tested = pinned_versions(project_root(file.path))
    if not tested:
        yield f"{file.path.name}: must be in a project with a constraints.txt, which has the tested versions"
        return
    for key, line in _lines(file):
        pins = re.findall(r"([A-Za-z][\w.-]*)(?:\[[\w,-]*\])?==(\d[\w.]*)", line)
        pins += re.findall(r"astral\.sh/(uv)/([^/]+)/", line)
        for name, version in pins:
            if version != (right := tested.get(_canonical(name))):
                yield f"{key}: must install {name} {right or 'not at all'}, as constraints.txt says, got {version}"
        if "astral.sh/uv/install.sh" in line:
            yield f"{key}: must name a version of uv, like astral.sh/uv/{tested.get('uv')}/install.sh"
        if re.search(r"\bpip install\b", line) and not re.search(r"-c \S*constraints\.txt", line):
            yield f"{key}: must install with -c ~/ftray/constraints.txt, got {line!r}"
        if (python := re.search(r"uv venv\b.*--python[ =](\S+)", line)) and not re.fullmatch(
            r"\d+\.\d+\.\d+", python[1]
        ):
            yield f"{key}: must name a whole version of Python, like 3.11.7, the same everywhere, got {python[1]}"
    docker = file.tree.get("docker") or {}
    if docker and not docker.get("container_name"):
        yield "docker.container_name: must be given with an image"
    for name in ("image", "head_image", "worker_image"):
        if image := docker.get(name):
            yield from image_problems(f"docker.{name}", str(image), tested["ray"])


def image_problems(key: str, image: str, ray: str) -> Iterator[str]:
    """What is wrong with the name of a container image: a tag that moves, or another Ray."""
    tag = image.rpartition("/")[2].partition(":")[2]
    if not tag or tag.startswith(("latest", "nightly")):
        yield f"{key}: must name a version, like rayproject/ray:{ray}-py311, got {image}: that tag moves"
    elif image.startswith("rayproject/ray") and not re.match(rf"{re.escape(ray)}(-|$)", tag):
        yield f"{key}: must be Ray {ray}, as constraints.txt says, got {image}"


def starting(file: ClusterFile) -> Iterator[str]:
    """The commands that start Ray: the head scales and is not open to the world, the workers find it."""
    head, worker = (
        "\n".join(line for _, line in _lines(file, name))
        for name in ("head_start_ray_commands", "worker_start_ray_commands")
    )
    if not re.search(r"\bray start\b.*--head\b", head):
        yield "head_start_ray_commands: must hold a line with: ray start --head"
    elif AUTOSCALING not in head:
        yield f"head_start_ray_commands: must start Ray with {AUTOSCALING}: without it no worker ever starts"
    if not re.search(r"\bray start\b.*--address=['\"]?\$RAY_HEAD_IP", worker):
        yield "worker_start_ray_commands: must hold a line with: ray start --address=$RAY_HEAD_IP:6379"
    for name, text in (("head_start_ray_commands", head), ("worker_start_ray_commands", worker)):
        if text and not re.search(r"^ray stop\b", text, re.MULTILINE):
            yield f"{name}: must begin with: ray stop; else the Ray of an earlier `ray up` still runs"
    here, there = re.search(r"--port[= ](\d+)", head), re.search(r"\$RAY_HEAD_IP:(\d+)", worker)
    if here and there and here[1] != there[1]:
        yield f"worker_start_ray_commands: must look for the head at port {here[1]}, where it listens, got {there[1]}"
    for dashboard in re.findall(r"--dashboard-host[= ](\S+)", head):
        if dashboard not in ("127.0.0.1", "localhost"):
            yield (
                f"head_start_ray_commands: --dashboard-host must be 127.0.0.1, got {dashboard}: whoever reaches it "
                "runs any code there; use its tunnel, `ray dashboard`"
            )
    if file.provider == "local" and "RAY_enable_autoscaler_v2=0" not in head:
        yield (
            "head_start_ray_commands: must export RAY_enable_autoscaler_v2=0 for machines of your own: Ray 2.60's "
            "newer autoscaler starts one worker too few there"
        )


def environment(file: ClusterFile) -> Iterator[str]:
    """The variables that all processes need; they inherit them from the shell that starts Ray."""
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        text = "\n".join(line for _, line in _lines(file, key))
        for name, value in WORKER_ENVIRONMENT.items():
            if not re.search(rf"\bexport\b[^;&|\n]*\b{name}=.*\bray start\b", text):
                yield (
                    f"{key}: must export {name}=${{{name}:-{value}}} before `ray start`: without it a training step "
                    "takes up to 10 times as long where threads outnumber cores"
                )


INSTALLING = (mounts, token, versions, starting, environment)
