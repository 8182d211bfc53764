"""A submitted study takes its plug-ins along, wherever this machine has them."""

from pathlib import Path

from ftray.cluster.submitting import job_name, measuring_name, pack
from ftray.study import load_study

from .outside import INDICATOR, MEMBERS, TRIAL, study_file, write

HIDDEN = ("__pycache__", ".git")


def packed_names(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.parts[len(folder.parts)] != "ftray"
    }


def test_a_job_carries_files_and_whole_packages_and_is_the_same_study_where_it_arrives(tmp_path, monkeypatch, forget):
    monkeypatch.setenv("FTRAY_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "study"
    write(folder)
    write(folder, "my_package/", "from my_package.deep import bodies")
    write(folder, "my_package/deep/", "")
    write(folder, "my_package/deep/bodies", INDICATOR)
    for hidden in HIDDEN:
        write(folder, f"my_package/{hidden}/x", "")
    trial = TRIAL | {"features": {"lookback": 8, "indicators": ["gap", "body"]}}
    study = load_study(study_file(folder, "my_members", "my_package", trial=trial))
    there = pack("job", folder / "study.yaml", study.plugins)
    names = {"my_members.py", "study.yaml", "my_package", "my_package/__init__.py", "my_package/deep"}
    assert packed_names(there) == names | {"my_package/deep/__init__.py", "my_package/deep/bodies.py"}
    forget()
    folder.rename(tmp_path / "elsewhere")
    assert load_study(there / "study.yaml").identity == study.identity


def test_a_job_is_named_after_its_plug_ins_too(tmp_path, forget):
    file, study = write(tmp_path), study_file(tmp_path, "my_members")
    names = set()
    for source in (MEMBERS, MEMBERS + "# changed\n"):
        forget()
        file.write_text(source)
        spec = load_study(study)
        names |= {job_name("study", spec.identity, "s3://a"), measuring_name("s3://a", study, (), spec.plugins)}
    assert len(names) == 4
