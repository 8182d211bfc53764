"""Runs a study as a job on a cluster: packs it, submits it once and follows it.

Takes: a study's file, where run folders are stored, a dashboard. Gives: a job whose entrypoint is `ftray tune`.

A job's name derives from its study and its run folder, with a number from the second job on: Ray takes no name twice.
Submitting a study that already runs follows its job; where its driver died, the next job continues the study from its
run folder, as the same command does everywhere.

A job carries the package as it is on this machine, with the study file and its plug-ins: it runs the code that was
checked here. What plug-ins import has to be installed on the cluster.
"""

import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ftray.cluster.dashboard import ClusterJob, Dashboard
from ftray.cluster.ray_cli import RayCli
from ftray.errors import ClusterError, SpecError
from ftray.families import LEFT_OUT, sources_of
from ftray.files import cache_dir
from ftray.spec import fingerprint
from ftray.storage import Location, is_url, join


def place_of_runs(runs: Location | None, by_file: str | None) -> str:
    """Where a whole cluster stores run folders: `runs` if given, else `by_file`, what the cluster's file says.

    Raises: SpecError for a place that only one machine has, or none at all.
    """
    place = str(runs or by_file or "")
    if not place:
        raise SpecError("name the place for run folders, on storage that the cluster reaches: --runs s3://…")
    if not is_url(place) and not place.startswith("/"):
        raise SpecError(f"--runs must be s3://…, gs://…, abfs://… or an absolute path on the cluster, got {place}")
    return place.rstrip("/")


def job_name(study: str, identity: object, runs: str) -> str:
    """The name of a study's job: the same for the same study in the same place.

    >>> job_name("my study", {"trial": {}}, "s3://bucket/runs")
    'my-study-d932d691'
    """
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', study)}-{fingerprint(identity, runs)[:8]}"


def measuring_name(
    runs: str, file: Path | None = None, options: Sequence[str] = (), plugins: Mapping[str, str] | None = None
) -> str:
    """The name of a job that measures: the same for the same content of the file, options, runs and plug-ins.

    >>> measuring_name("s3://bucket/runs")
    'vram-d52521a9'
    """
    more = [dict(plugins)] if plugins else []
    return f"vram-{fingerprint(runs, file and file.read_text(), list(options), *more)[:8]}"


def jobs_of(name: str, jobs: Sequence[ClusterJob]) -> list[ClusterJob]:
    """The jobs of that name so far, oldest first."""
    return [job for job in jobs if re.fullmatch(rf"{re.escape(name)}(-\d+)?", job.id)]


def pack(name: str, file: Path | None, plugins: Iterable[str] = ()) -> Path:
    """Packs the folder that a job works in: the study's file, if any, its plug-ins and this package. The folder stays,
    so that a user can type the command that names it again."""
    folder = cache_dir() / "jobs" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for source in (Path(__file__).parents[1], *sources_of(plugins)):
        if source.is_dir():
            shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns(*LEFT_OUT))
        else:
            shutil.copyfile(source, folder / source.name)
    if file is not None:
        shutil.copyfile(file, folder / file.name)
    return folder


def submit(
    ray: RayCli,
    board: Dashboard,
    name: str,
    file: Path,
    study: str,
    runs: str,
    options: Sequence[str] = (),
    plugins: Iterable[str] = (),
) -> str:
    """Submits a study unless it already runs; returns the id of the job that runs it.

    options: further arguments of `ftray tune`. plugins: modules whose sources go with it.

    Raises: ClusterError if the cluster refuses the job.
    """
    before = jobs_of(name, board.jobs())
    if running := next((job for job in before if not job.has_ended), None):
        ray.say(f"{study} is already {running.state} as {running.id}: following it, not submitting it again")
        return running.id
    if before:
        ray.say(f"{study} was submitted before: {before[-1].id} is {before[-1].state}; this job continues it")
    job = f"{name}-{len(before) + 1}" if before else name
    arguments = ["tune", file.name, "--runs", runs, *options]
    _submit(ray, board, job, pack(name, file, plugins), arguments, {"study": study, "run": str(join(runs, study))})
    return job


def submit_measuring(
    ray: RayCli,
    board: Dashboard,
    runs: str,
    file: Path | None = None,
    options: Sequence[str] = (),
    plugins: Mapping[str, str] | None = None,
) -> str:
    """Submits `ftray vram --measure` for studies in `runs`, unless the same job already runs; returns the job's id.

    plugins: modules whose sources go with it → hash of their source.

    Raises: ClusterError if the cluster refuses the job.
    """
    name = measuring_name(runs, file, options, plugins)
    before = jobs_of(name, board.jobs())
    if running := next((job for job in before if not job.has_ended), None):
        ray.say(f"{running.id} already measures this and is {running.state}: following it, not submitting it again")
        return running.id
    job = f"{name}-{len(before) + 1}" if before else name
    arguments = ["vram", *[file.name for file in [file] if file], "--measure", "--runs", runs, *options]
    _submit(ray, board, job, pack(name, file, plugins or ()), arguments, {})
    return job


def _submit(
    ray: RayCli, board: Dashboard, job: str, folder: Path, arguments: Sequence[str], metadata: Mapping[str, str]
) -> None:
    """Submits `ftray WORDS` as a job that works in a copy of the folder."""
    where = ["--address", board.address, "--submission-id", job, "--working-dir", str(folder)]
    noted = ["--metadata-json", json.dumps(metadata)] if metadata else []
    try:
        ray.run("job", "submit", *where, *noted, "--no-wait", "--", "python", "-m", "ftray", *arguments)
    except ClusterError:
        if not board.job(job):  # else another user has just submitted it
            raise


def follow(ray: RayCli, board: Dashboard, job: str, again: str) -> int:
    """Prints a job's log until the job ends; returns an exit status: 0 if it succeeded, 1 if not, 130 after Ctrl-C.

    The job keeps running whatever happens to this process. again: the command that follows the job again.
    """
    hint = f"{job} keeps running on the cluster; follow it again with: {again}"
    try:
        ray.show("job", "logs", "--address", board.address, "--follow", job)
        board.follow(job)
        ended = board.job(job)
    except KeyboardInterrupt:
        ray.say(f"\n{hint}\nstop it, while there is a tunnel, with: ray job stop --address {board.address} {job}")
        return 130
    except ClusterError as error:
        raise ClusterError(f"{error} {hint}") from None
    if ended is None or not ended.has_ended:
        raise ClusterError(f"the connection was lost. {hint}")
    ray.say(f"{job}: {ended.state}")
    return 0 if ended.state == "SUCCEEDED" else 1
