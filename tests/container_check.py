"""Carries out the steps of Containerfile and environment.yml in a Debian root made here: `make container-check`, as root.

No container engine and no conda. debootstrap makes what stands for the base image, buildah builds the Containerfile on it in its
chroot isolation, and commands run in the result, as the image's user. Of environment.yml the section `pip` is installed the
way conda does it, into a venv of that Debian's Python. Everything lies in a temporary folder that is removed at the end.

It takes the machine's own settings of pip and apt into the root, so that it works wherever `make setup` does. It needs 10 GB
of room.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parent.parent
CODENAMES = {"12": "bookworm"}
"""What debootstrap calls a Debian release."""
IMAGE = "workbench"
MACHINE = "/machine"
"""Where a root sees copies of files that this machine's settings name."""
WORKSPACE = "/home/researcher/workbench"
QUICK = "curate@problems"
"""A stage of seconds whose bytes depend on no machine."""
OUTPUTS = f"python -c \"import sys, yaml; print(*yaml.safe_load(sys.stdin)['stages']['{QUICK}']['outs'], sep='\\n')\""
"""Shows the hashes of its outputs in a dvc.lock."""
CANARY = "-".join(("canary", "5f1c2e7b90d4"))
"""Stands for a password in .git/config and for a secret in a file not committed; in parts, as the image holds this file."""
BUILD_TOOLS = {"editables", "hatchling", "setuptools", "trove-classifiers"}
"""What `make setup` installs to build the plugins; pip under conda builds apart."""


def main() -> None:
    """Make the root, build, and look at what came out; exits with 1 and the step's name at the first that fails."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _need_programs()
    with _folder() as folder:
        tools = Tools(folder)
        with _step("base image by debootstrap"):
            tools.make_base()
        with _step("Containerfile by buildah, chroot isolation"):
            tools.build(_context(folder))
        cache = folder / "cache"
        cache.mkdir(mode=0o777)
        cache.chmod(0o777)
        with tools.container(cache) as container:
            look_at_image(container)
            run_stage(container, "Running stage")
        with tools.container(cache) as container:
            run_stage(container, "is cached")
            install_as_conda(container)
    print("container-check: every step passed")


class Tools:
    """debootstrap and buildah, with a store of their own and this machine's package sources.

    Args:
        folder: holds all that they write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.buildah = ["buildah", "--root", str(folder / "store"), "--runroot", str(folder / "run")]
        self.sources = package_sources(folder)

    def make_base(self) -> None:
        """Give the store an image under the name that the Containerfile begins with."""
        name = base_image()
        root = self.folder / "base"
        codename = CODENAMES[name.partition(":")[2].partition("-")[0]]
        _run("debootstrap", "--variant=minbase", codename, str(root), *_mirror(codename))
        container = _output(*self.buildah, "from", "scratch")
        _run(*self.buildah, "add", "-q", container, str(root), "/")
        _run(*self.buildah, "commit", "-q", "--rm", container, name)
        shutil.rmtree(root)

    def build(self, context: Path) -> None:
        """Build the Containerfile of a clone."""
        _run(*self.buildah, "bud", "--isolation", "chroot", "--pull-never", "-t", IMAGE, *self.sources, str(context))

    @contextmanager
    def container(self, cache: Path) -> Iterator[Container]:
        """A new container of the image, with a folder in place of DVC's cache."""
        name = _output(*self.buildah, "from", "--pull-never", IMAGE)
        volumes = [*self.sources, "-v", f"{cache}:{WORKSPACE}/.dvc/cache"]
        yield Container([*self.buildah, "run", "--isolation", "chroot", *volumes, name, "--"])
        _run(*self.buildah, "rm", name)


class Container:
    """Runs commands as the image's user, in its folder."""

    def __init__(self, prefix: Sequence[str]) -> None:
        self.prefix = prefix

    def run(self, command: str, environment: str = ".venv") -> str:
        """What a shell command prints, both streams; ends the check when it fails."""
        # A container starts with the image's variables alone, buildah's chroot with those of whoever calls it too.
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")}
        script = f'set -e; export PATH="$PWD/{environment}/bin:$PATH"; {command}'
        done = subprocess.run(
            [*self.prefix, "bash", "-c", script],
            env=kept,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        print("\n".join(f"    {line}" for line in done.stdout.splitlines()[-30:]), flush=True)
        _expect(done.returncode == 0, f"`{command}` ended with {done.returncode}")
        return done.stdout


def look_at_image(container: Container) -> None:
    """Whether it is the commit and nothing else, and the workbench in it is well."""
    with _step("the image holds the commit, and no secret of the clone's"):
        _expect(container.run("id -un") == "researcher\n", "the image's user is not researcher")
        _expect(container.run("git status --porcelain") == "", "files differ from the commit")
        found = container.run(f"grep -rlF {CANARY} /home /etc --exclude-dir=.venv 2>/dev/null || true")
        _expect(found == "", f"a secret of the clone is in {found}")
    with _step("workbench doctor, workbench plugins"):
        container.run("workbench doctor && workbench plugins")


def run_stage(container: Container, said: str, environment: str = ".venv", options: str = "") -> None:
    """Run a stage; DVC has to say ``said`` of it, and its outputs have to be those of the committed dvc.lock."""
    with _step(f"dvc repro {options}{QUICK} ({said}), environment {environment}"):
        printed = container.run(f"dvc repro {options}resolve {QUICK} && workbench sync", environment)
        line = next((line for line in printed.splitlines() if said in line and QUICK in line), None)
        _expect(line is not None, f"DVC did not say `{said}` of {QUICK}")
        made, committed = (
            container.run(f"{command} | {OUTPUTS}", environment) for command in ("cat dvc.lock", "git show HEAD:dvc.lock")
        )
        _expect(made == committed, f"{QUICK} made other bytes than those of dvc.lock")


def install_as_conda(container: Container) -> None:
    """What conda does with the section ``pip``: a requirements file beside environment.yml, pip run in that folder with -U."""
    described = yaml.safe_load((PROJECT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    lines = next(entry["pip"] for entry in described if isinstance(entry, dict))
    python = next(entry.partition("=")[2] for entry in described if str(entry).startswith("python="))
    file = "condaenv.check.requirements.txt"
    with _step("the section pip of environment.yml, as conda installs it"):
        version = container.run("python3 -c 'import platform; print(platform.python_version())'")
        _expect(version.startswith(f"{python}."), f"environment.yml says python={python}, the root has {version}")
        container.run(f"printf '%s\\n' {shlex.join(lines)} > {file}; python3 -m venv ../conda")
        container.run(f"pip install -q -U -r {file} --exists-action=b; rm {file}", "../conda")
    with _step("both environments have the same versions"):
        shared, conda = (set(container.run("pip freeze --exclude-editable", name).split()) for name in (".venv", "../conda"))
        missing = {pin.partition("==")[0] for pin in shared - conda} - BUILD_TOOLS
        _expect(conda <= shared and not missing, f"only in conda's: {conda - shared}; missing there: {missing}")
    run_stage(container, "Running stage", "../conda", "-f ")


def package_sources(folder: Path) -> list[str]:
    """Options by which a root sees this machine's settings of pip and of apt, without their being part of an image."""
    machine = folder / "machine"
    machine.mkdir()
    volumes = {str(machine): MACHINE, **carry_pip(machine)}
    acquire = [line for line in _output("apt-config", "dump").splitlines() if line.startswith("Acquire::")]
    (machine / "apt.conf").write_text("\n".join(acquire) + "\n", encoding="utf-8")
    volumes[str(machine / "apt.conf")] = "/etc/apt/apt.conf.d/99machine"
    return [word for here, there in volumes.items() for word in ("-v", f"{here}:{there}:ro")]


def carry_pip(machine: Path) -> dict[str, str]:
    """Write pip's settings as one file into ``machine``; returns path here → path in the root of what has to be mounted.

    Files that the settings name, such as certificates, are copied, since a package's scripts may replace those in the root.
    Folders are mounted where they are; of an index the folder above, because its pages link to files beside it.
    """
    volumes = {str(machine / "pip.conf"): "/etc/pip.conf"}
    lines = ["[global]"]
    for name, value in _pip_settings().items():
        words = [_carried(word, machine, volumes) for word in value.split()]
        lines.append(f"{name} = {' '.join(words)}")
    (machine / "pip.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return volumes


def _pip_settings() -> dict[str, str]:
    """Option → value of pip's files and variables; variables count more."""
    pairs = [line.partition("=") for line in _output(sys.executable, "-m", "pip", "config", "list").splitlines()]
    ordered = sorted(pairs, key=lambda pair: pair[0].startswith(":env:"))
    return {name.rpartition(".")[2]: str(ast.literal_eval(value)) for name, _, value in ordered}


def _carried(word: str, machine: Path, volumes: dict[str, str]) -> str:
    """A word of pip's settings as it holds within the root."""
    path = Path(word.removeprefix("file://"))
    if not path.is_absolute() or not path.exists():
        return word
    if path.is_file():
        copied = machine / f"{len(list(machine.iterdir()))}-{path.name}"
        shutil.copyfile(path, copied)
        return f"{MACHINE}/{copied.name}"
    folder = path.parent if word.startswith("file://") else path
    volumes[str(folder)] = str(folder)
    return word


def _context(folder: Path) -> Path:
    """A clone of the project with a password in its configuration and a secret beside its files."""
    clone = folder / "clone"
    _run("git", "clone", "-q", str(PROJECT), str(clone))
    _run("git", "-C", str(clone), "remote", "set-url", "origin", f"https://someone:{CANARY}@localhost/workbench.git")
    (clone / ".env").write_text(f"TOKEN={CANARY}\n", encoding="utf-8")
    if _output("git", "-C", str(PROJECT), "status", "--porcelain"):
        print("note: changes that are not committed are not in an image, and so not checked", flush=True)
    return clone


def base_image() -> str:
    """What the Containerfile begins with."""
    found = re.search(r"^FROM (debian:\S+)", (PROJECT / "Containerfile").read_text(encoding="utf-8"), re.MULTILINE)
    _expect(found is not None, "Containerfile has no line FROM debian:…")
    assert found is not None
    return found[1]


def _mirror(codename: str) -> list[str]:
    """Where this machine's apt has that release from; debootstrap's own choice if it has none."""
    kind = ["Created-By: Packages", "Component: main", f"Codename: {codename}"]
    found = _output("apt-get", "indextargets", "--format", "$(REPO_URI)", *kind).splitlines()
    return found[:1]


def _need_programs() -> None:
    if os.geteuid() != 0 or os.getpid() != 1:
        sys.exit("container-check: it needs root and a process namespace of its own; run `sudo make container-check`")
    missing = [program for program in ("debootstrap", "buildah") if shutil.which(program) is None]
    if missing:
        _run("apt-get", "update", "-q")
        _run("apt-get", "install", "-qy", "--no-install-recommends", *missing)


@contextmanager
def _folder() -> Iterator[Path]:
    """A temporary folder. Before it go the processes that use it, and what is mounted below: removal would empty its source."""
    folder = Path(tempfile.mkdtemp(prefix="container-check-")).resolve()
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)  # all of the namespace but this process, its first
        mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
        for place in sorted((place for place in mounted if place.startswith(f"{folder}/")), reverse=True):
            subprocess.run(["umount", "--lazy", place], check=True)
        shutil.rmtree(folder)


@contextmanager
def _step(name: str) -> Iterator[None]:
    print(f"== {name}", flush=True)
    start = time.monotonic()
    yield
    print(f"ok {name}, {time.monotonic() - start:.0f} s", flush=True)


def _expect(right: bool, otherwise: str) -> None:
    if not right:
        sys.exit(f"container-check: {otherwise}")


def _run(*command: str) -> None:
    """Run a command whose output shows only when it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    _expect(done.returncode == 0, f"`{shlex.join(command)}` ended with {done.returncode}:\n{done.stdout[-4000:]}")


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    _expect(done.returncode == 0, f"`{shlex.join(command)}` ended with {done.returncode}:\n{done.stderr}")
    return done.stdout.strip()


if __name__ == "__main__":
    main()
