"""The first process of a host, in the new namespaces that `hosts` made for it: lays out what the host sees, then sshd.

Takes: a JSON mapping on standard input (`hosts.Host` says what is in it). Run by path, with nothing but the standard
library: it begins before there is anything to import from.
"""

import json
import os
import subprocess
import sys
from pathlib import Path


def command(*words: str) -> None:
    subprocess.run(words, check=True)


def copy_on_write(lower: Path, layers: Path, target: Path) -> None:
    """A folder as it is on this machine, whose changes the host alone sees, and which end with it."""
    upper, work = layers / "upper", layers / "work"
    for folder in (upper, work, target):
        folder.mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    command("mount", "-t", "overlay", "overlay", "-o", options, str(target))


def lay_out(host: dict) -> None:
    """The host's own view of files: this machine's, with homes, /tmp and /run of its own and the folders it is given.

    What it changes lies in `disk` and is there again after the next boot, but for /tmp and /run.
    """
    command("mount", "--make-rprivate", "/")
    disk = Path(host["disk"])
    root = disk / "root"
    copy_on_write(Path("/"), disk / "changes", root)
    for path in ("tmp", "run"):
        command("mount", "-t", "tmpfs", "-o", f"size={host['memory']},mode=1777", "own", str(root / path))
    for path, mode in (("root", 0o755), ("home", 0o755), ("var/tmp", 0o1777)):
        own = disk / "own" / path
        own.mkdir(parents=True, exist_ok=True)
        own.chmod(mode)
        command("mount", "--bind", str(own), str(root / path))
    command("mount", "--rbind", "/dev", str(root / "dev"))
    command("mount", "--rbind", "/sys", str(root / "sys"))
    command("mount", "-t", "tmpfs", "-o", "size=90%,mode=1777", "shm", str(root / "dev/shm"))
    for number, path in enumerate(host["kept"]):
        copy_on_write(Path(path), disk / f"kept-{number}", root / path.lstrip("/"))
    if venv := host["venv"]:
        own = root / venv["at"].lstrip("/")
        copy_on_write(Path(venv["of"]), disk / "venv", own)
        (root / venv["of"].lstrip("/")).mkdir(parents=True, exist_ok=True)
        command("mount", "--bind", str(own), str(root / venv["of"].lstrip("/")))  # where its scripts look for Python
    for source, target in host["mounts"].items():
        (root / target.lstrip("/")).mkdir(parents=True, exist_ok=True)
        command("mount", "--bind", source, str(root / target.lstrip("/")))
    os.chdir(root)
    (root / "run/before").mkdir()
    command("pivot_root", ".", "run/before")
    os.chdir("/")
    command("mount", "-t", "proc", "proc", "/proc")
    command("umount", "-l", "/run/before")


def write_files(host: dict) -> None:
    """Who may log in, by which key, and how the others are called."""
    Path("/etc/hosts").write_text(host["hosts"])
    Path("/etc/hostname").write_text(f"{host['name']}\n")
    command("hostname", host["name"])
    for user, home in host["users"].items():
        if user != "root" and f"\n{user}:" not in Path("/etc/passwd").read_text():
            # Root under another name: what the machine has installed belongs to root, and this user may change it.
            who = ["--non-unique", "--uid", "0", "--gid", "0", "--password", "*", "--home-dir", home]
            command("useradd", *who, "--no-create-home", "--shell", "/bin/bash", user)
        if not (Path(home) / ".bashrc").exists():
            command("cp", "-rT", "/etc/skel", home)
        folder = Path(home) / ".ssh"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "authorized_keys").write_text(host["authorized"])
    for name, target in host["links"].items():
        Path(name).unlink(missing_ok=True)
        Path(name).symlink_to(target)
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    Path("/run/host_key").write_text(host["host_key"])
    Path("/run/host_key").chmod(0o600)
    settings = {
        "HostKey": "/run/host_key", "PidFile": "/run/sshd.pid", "PasswordAuthentication": "no", "UsePAM": "no",
        "PermitRootLogin": "prohibit-password", "PrintMotd": "no", "MaxSessions": "50", "MaxStartups": "50",
        "AuthorizedKeysFile": ".ssh/authorized_keys", "Subsystem": "sftp internal-sftp",
        "SetEnv": " ".join(f'"{name}={quoted(value)}"' for name, value in host["environment"].items()),
    }  # fmt: skip
    Path("/run/sshd_config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))


def quoted(value: str) -> str:
    """A value as it stands between the quotes of sshd's settings."""
    return value.replace("\\", "\\\\").replace('"', '\\"')


def main() -> None:
    host = json.load(sys.stdin)
    lay_out(host)
    write_files(host)
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    # tini stands in for init: it takes in orphans and reaps them.
    init = ["tini", "-g", "--", "/usr/sbin/sshd", "-D", "-e", "-f", "/run/sshd_config"]
    os.execvpe("tini", init, {"PATH": path, "LANG": "C.UTF-8"})


if __name__ == "__main__":
    main()
