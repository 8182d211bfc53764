"""The encoder store: finished pre-training jobs in folders named by their fingerprints, each trained once.

Takes: what a trial's encoder must be. Gives: the `Choice` of weights that fit, and a job's card, whoever trained it.

A store is a list of folders; only the first, the study's own, is written to:

    encoders/<fingerprint>/           a finished job, moved here whole
    encoders/.<fingerprint>.making/   an unfinished job; the next process continues from its last epoch
    encoders/.<fingerprint>.lock      held by the process that trains it, released when that process ends
    encoders.json                     what was chosen for each job, and why; the choice is kept
"""

import contextlib
import dataclasses
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ftray.errors import RunFolderError
from ftray.features import INDICATORS, Dataset
from ftray.files import create_folder, locked, move_folder, replace_file
from ftray.nets import FTSpec
from ftray.pretraining.folder import BAR_SECONDS, CONFIG, RESUME, EncoderCard, is_finished, read_card
from ftray.pretraining.spec import LOSS, METHOD, PretrainingSpec, encoder_fingerprint, scaler_fingerprint, tower_of
from ftray.spec import to_mapping


@dataclasses.dataclass(frozen=True)
class Choice:
    """The weights that an encoder starts from.

    wanted: fingerprint of the job that the encoder asks for. encoder: of the job whose weights it gets; the same one
    is still to be done, or done already. why: for people. study: name of the study whose job it is.
    """

    wanted: str
    encoder: str
    why: str
    study: str | None = None


class EncoderStore:
    """See the module. One process chooses, the study's driver; any number look up what was chosen, and run jobs."""

    def __init__(self, own: Path, others: Sequence[Path] = ()):
        self.own, self.others = Path(own).absolute(), tuple(Path(other).absolute() for other in others)

    @classmethod
    def of_run(cls, run: Path) -> "EncoderStore":
        """The encoders of a run folder, and of its sibling run folders."""
        run = run.absolute()
        siblings = (study.parent for study in sorted(run.parent.glob("*/study.json")))
        return cls(run / "encoders", [other / "encoders" for other in siblings if other != run])

    def has(self, fingerprint: str) -> bool:
        """Whether that job is finished in the own folder."""
        return is_finished(self.own / fingerprint)

    def chosen(self, wanted: str) -> Choice | None:
        """What was chosen before; None if nothing was, or if it has been deleted."""
        found = self._choices().get(wanted)
        if found is None or (found["encoder"] != wanted and not self.has(found["encoder"])):
            return None
        return Choice(wanted, found["encoder"], found["why"], found.get("study"))

    def choose(self, encoder: FTSpec, spec: PretrainingSpec, dataset: Dataset, *, similar: bool = True) -> Choice:
        """What was chosen before; else the job that the encoder asks for, if it is finished anywhere; else the finished
        one with the lowest validation loss, of those whose losses mean the same and that saw no bar of the validation
        and test windows; else the job that it asks for, which is then to be done.

        What lies in another folder is copied: a run folder has all that its trials depend on.

        similar: whether other jobs than the one that the encoder asks for may stand in.
        """
        wanted = encoder_fingerprint(dataset.fingerprint, dataset.layout, encoder, spec)
        before = self.chosen(wanted)
        if before is not None and (similar or before.encoder == wanted):
            return before
        choice, folder = self._exact(wanted) or (
            self._best(wanted, encoder, spec, dataset) if similar else _todo(wanted)
        )
        if folder is None:
            choice = dataclasses.replace(choice, study=self.own.parent.name)
        elif not self.has(choice.encoder):
            self._adopt(choice.encoder, folder)
        choices = self._choices() | {wanted: {"encoder": choice.encoder, "why": choice.why, "study": choice.study}}
        replace_file(self._file, json.dumps(choices, indent=1).encode())
        return choice

    def make(self, wanted: str, job: Callable[[Path], Any]) -> EncoderCard:
        """The card of the job that was chosen for the one wanted, done now by `job(folder)` if it is not there.

        Of several processes that want the same one, one does it and the others wait. Where the file system knows no
        locks each does it in a folder of its own: the first to end is kept, and none can be continued.
        """
        choice = self.chosen(wanted)
        fingerprint = choice.encoder if choice else wanted
        if self.has(fingerprint):
            return read_card(self.own / fingerprint)
        self.own.mkdir(parents=True, exist_ok=True)
        with locked(self.own / f".{fingerprint}.lock", delete=True) as is_locked:
            if not self.has(fingerprint):
                partial = self._partial(fingerprint, is_locked)
                job(partial)
                with self._publishing(fingerprint):
                    move_folder(partial, self.own / fingerprint)
                shutil.rmtree(partial, ignore_errors=True)  # another process was faster
        return read_card(self.own / fingerprint)

    @property
    def _file(self) -> Path:
        return self.own.with_name("encoders.json")

    def _choices(self) -> dict[str, dict[str, str]]:
        try:
            return json.loads(self._file.read_text())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise RunFolderError(
                f"{self._file} is damaged ({error}): restore it, or delete it to choose anew"
            ) from error

    def _exact(self, wanted: str) -> tuple[Choice, Path] | None:
        for store in (self.own, *self.others):
            if is_finished(store / wanted):
                why = f"uses encoder {wanted[:12]} of {self._study(store)}: its own pre-training job"
                return Choice(wanted, wanted, why, store.parent.name), store / wanted
        return None

    def _best(
        self, wanted: str, encoder: FTSpec, spec: PretrainingSpec, dataset: Dataset
    ) -> tuple[Choice, Path | None]:
        fitting, refused = self._similar(encoder, spec, dataset)
        others = f"; {len(refused)} refused: {refused[0]}" if refused else ""
        if not fitting:
            choice, folder = _todo(wanted)
            return dataclasses.replace(choice, why=f"{choice.why}: the store has none that fits{others}"), folder
        best = min(fitting, key=lambda card: (card.validation_loss, card.fingerprint))
        folder = best.path.parent
        why = (
            f"uses encoder {best.fingerprint[:12]} of {self._study(folder.parent)}: "
            f"validation loss {best.validation_loss:.4f}, best of {len(fitting)} compatible{others}"
        )
        return Choice(wanted, best.fingerprint, why, folder.parent.parent.name), folder

    def _study(self, store: Path) -> str:
        return "this study" if store == self.own else f"study {store.parent.name}"

    def _adopt(self, fingerprint: str, folder: Path) -> None:
        left_out = shutil.ignore_patterns(RESUME, "encoder_epoch_*.pth", ".*")
        with self._publishing(fingerprint), create_folder(self.own / fingerprint) as new:
            shutil.copytree(folder, new, ignore=left_out, dirs_exist_ok=True)

    def _partial(self, fingerprint: str, is_locked: bool) -> Path:
        """Where an unfinished job lies."""
        if not is_locked:
            return self.own / f".{fingerprint}.making-{socket.gethostname()}-{os.getpid()}"
        partial, target = self.own / f".{fingerprint}.making", self.own / fingerprint
        if target.is_dir() and not partial.exists():
            target.rename(partial)  # left there unfinished: continue it
        return partial

    @contextlib.contextmanager
    def _publishing(self, fingerprint: str) -> Iterator[None]:
        """A finished job takes its name inside the block; one that another process finished before keeps it.

        Raises: RunFolderError where the name belongs to something else.
        """
        try:
            yield
        except FileExistsError:
            if not self.has(fingerprint):
                raise RunFolderError(
                    f"{self.own / fingerprint} must be free for a finished job, but holds something else: delete it "
                    "and start again"
                ) from None

    def _similar(self, encoder: FTSpec, spec: PretrainingSpec, dataset: Dataset) -> tuple[list[EncoderCard], list[str]]:
        """The jobs of the same tower and layout, each once: cards of those that fit, and why others do not."""
        tower = tower_of(encoder, dataset.layout)
        found = {folder.name: folder for folder in reversed(list(self._finished()))}
        fitting: list[EncoderCard] = []
        refused = []
        for name, folder in found.items():
            try:
                config, card = json.loads((folder / CONFIG).read_text()), read_card(folder)
                if (
                    tower_of(config["encoder"], dataset.layout) != tower
                    or config["layout"] != dataset.layout.to_mapping()
                ):
                    continue
                seconds = config.get(BAR_SECONDS)
                seen = overlaps(config["train_windows"], dataset, seconds)
                seen = seen or chosen_on_test(config.get("validation_windows") or (), dataset, seconds)
                problem = seen or _other_loss(config, encoder, spec, dataset)
            except (OSError, ValueError, LookupError, TypeError, RunFolderError) as error:
                refused.append(f"{folder} is damaged ({error})")
                continue
            if problem is None:
                fitting.append(card)
            else:
                refused.append(f"{name[:12]} of {self._study(folder.parent)} was {problem}")
        return fitting, refused

    def _finished(self) -> Iterator[Path]:
        for store in (self.own, *self.others):
            for folder in sorted(store.glob("[!.]*")):
                if is_finished(folder):
                    yield folder


def _todo(wanted: str) -> tuple[Choice, None]:
    return Choice(wanted, wanted, f"pre-trains encoder {wanted[:12]}"), None


def overlaps(trained: Sequence[Sequence[str]], dataset: Dataset, seconds: float | None = None) -> str | None:
    """Which of the windows that a trial is evaluated on weights must not know, by the bars that they were trained on.

    They must not know a bar of a window, nor one within the gap around it that the trial's own train windows keep: the
    last labels before it and the indicators after it know the window, too. None if they know none.

    trained: when the first and the last bar of each train window open, as `Dataset.times` writes them.
    seconds: how long those bars last; None: as long as the dataset's.
    """
    own = dataset.candles.interval.astype("timedelta64[s]")
    theirs = own if seconds is None else np.timedelta64(round(seconds), "s")
    before, after = (gap * max(own, theirs) for gap in (dataset.windows.gap_before, dataset.windows.gap_after))
    windows = [("validation", window) for window in dataset.windows.validation]
    for name, window in (*windows, ("test", dataset.windows.test)):
        if not len(window):
            continue
        first, last = dataset.times(window)
        for start, end in trained:
            if np.datetime64(end) + theirs + before > np.datetime64(first) and (
                np.datetime64(start) < np.datetime64(last) + own + after
            ):
                return (
                    f"trained on bars from {start} to {end}, and the trial's {name} window begins at {first} and "
                    f"ends at {last}; {dataset.windows.gap_before} bars before it and {dataset.windows.gap_after} "
                    "after it are left out, too"
                )
    return None


def chosen_on_test(validated: Sequence[Sequence[str]], dataset: Dataset, seconds: float | None = None) -> str | None:
    """Whether the best epoch of weights was chosen on bars of the test window; None if not.

    validated: when the first and the last bar of each validation window open, as for `overlaps`; weights of earlier
        versions have none. seconds: as there.
    """
    test = dataset.windows.test
    own = dataset.candles.interval.astype("timedelta64[s]")
    theirs = own if seconds is None else np.timedelta64(round(seconds), "s")
    first, last = dataset.times(test) if len(test) else ("", "")
    for start, end in validated if len(test) else ():
        if np.datetime64(end) + theirs > np.datetime64(first) and np.datetime64(start) < np.datetime64(last) + own:
            return (
                f"chosen on bars from {start} to {end}, and the trial's test window begins at {first} and ends at "
                f"{last}"
            )
    return None


def _loss_fields(encoder: Mapping[str, Any], pretraining: Mapping[str, Any]) -> dict[str, Any]:
    """What the validation loss depends on; weights of versions that knew no loss on returns had none."""
    found = {"return_weight": 0.0} | {name: pretraining[name] for name in LOSS if name in pretraining}
    return found | ({"horizons": [*encoder["horizons"]]} if found["return_weight"] else {})


def _other_loss(config: Mapping[str, Any], encoder: FTSpec, spec: PretrainingSpec, dataset: Dataset) -> str | None:
    """Why the validation losses of two jobs cannot be compared; None if they can."""
    ours, theirs = (
        _loss_fields(to_mapping(encoder), to_mapping(spec)),
        _loss_fields(config["encoder"], config["pretraining"]),
    )
    for name in (*LOSS, "horizons"):
        if theirs.get(name) != ours.get(name):
            return f"trained with another loss: {name} is {theirs.get(name)} there and {ours.get(name)} here"
    if config.get("method") != METHOD:
        return f"trained with another loss: {config.get('method')} there and {METHOD} here"
    if config.get("plugins", {}) != INDICATORS.sources(dataset.layout.indicators):
        return "trained on other features: the plug-in of its indicators has another source there"
    if config.get("scaler") != scaler_fingerprint(dataset.table.scaler):
        return "trained with another loss: on features that are scaled differently, by other train windows"
    return None
