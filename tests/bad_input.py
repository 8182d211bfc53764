"""Bad inputs that a user may type or have on disk; each must be refused in one line. It grows with each one found.

`SETS`: what --set may be given, and a word of the refusal. `FILES`: contents of study files. `CANDLES`: what may be
wrong with a CSV of candles. `CLUSTERS`: what is changed in a cluster file. `WORDS`: command lines. `WRONG`: values that
no field of that type takes.
"""

WRONG = {
    int: ("x", "[1, 2]", "{a: 1}", ".nan", "true", "1.5", "-5", "1e30", ".inf"),
    float: ("x", "[1, 2]", "{a: 1}", ".nan", "true", ".inf", "-1e9"),
    bool: ("maybe", "3", "[true]", '"yes"'),
    str: ("[a]", "{a: b}", "7", "''"),
    list: ("7", "x", "[7]"),
    type(None): ("{a: 1}",),
}
"""By the type of a field's default."""

SETS = {
    f"name={'n' * 300}": "at most 80 characters",
    "name=a/b": "a folder's name",
    "name=.hidden": "a folder's name",
    "name=''": "a folder's name",
    "name=7": "must be a str",
    "nothing=1": "no such key",
    "trial.nothing=1": "did you mean 'trading'",
    "trial.ppo.epoch=1": "did you mean 'epochs'",
    "trial.ppo=1": "expected a mapping",
    "trial=1": "must be a mapping",
    "search=1": "expected a mapping",
    "plugins=nowhere": "a list of modules",
    "plugins=[nowhere]": "no plug-in nowhere",
    "trial.encoder.hidden={choice: [64, 64]}": "different options",
    "trial.encoder.hidden={choice: []}": "needs a list",
    "trial.encoder.hidden={choice: 64}": "needs a list",
    "trial.encoder.hidden={choice: [64, x]}": "must be an int",
    "trial.encoder.hidden={choices: [64, 128]}": "did you mean 'choice'",
    "trial.encoder.hidden={int: [128, 64, 64]}": "is no range",
    "trial.encoder.hidden={int: [64, 128, 48]}": "a step that divides the range",
    "trial.encoder.hidden={int: [64]}": "needs low and high",
    "trial.encoder.hidden={int: [64, 128, 0]}": "is no range",
    "trial.encoder.hidden={int: [1, 128]}": "must be between 64",
    "trial.encoder.hidden={float: [64.5, 128]}": "must be an int",
    "trial.ppo.learning_rate={log: [0, 1.0e-3]}": "is no range",
    "trial.ppo.learning_rate={log: [1e-3, 1e-4]}": "is no range",
    "trial.ppo.learning_rate={log: [x, y]}": "must be a number",
    "trial.ppo.learning_rate={log: [1e-4, .nan]}": "finite number",
    "trial.ppo.learning_rate={uniform: [0, 1]}": "must be a finite number",
    "trial.ppo.learning_rate={log: [1e-4, 1e-3], int: [1, 2]}": "must be a finite number",
    "trial.ppo.gamma={float: [0.5, 0.9, 0.3]}": "a step that divides the range",
    "trial.ppo.gamma={choice: ['0.5', 0.9]}": "without quotes",
    "trial.ppo.gamma={choice: [0.5, 0.50]}": "different options",
    "trial.ppo.epochs={choice: [true, 2]}": "trial.ppo.epochs",
    "trial.market.n_bars={int: [1000, 2000]}": "judges the trials",
    "trial.windows.holding={choice: [6, 12]}": "judges the trials",
    "trial.trading.rules.fee={float: [0.0, 0.01]}": "judges the trials",
    "trial.seed={int: [0, 5]}": "judges the trials",
    "trial.seeds={choice: [1, 2]}": "judges the trials",
    "trial.seeds=1000000000": "between 1 and 1000",
    "trial.seed=1e30": "2**63",
    "trial.trading.rules.min_order=20000": "at most initial_cash",
    "trial.trading.rules.fee=0.5": "between 0 and 0.1",
    "trial.trading.rules.fill=never": "'open', 'close'",
    "trial.trading.fee=0.001": "trading.rules.fee",
    "trial.features.indicators=[]": "at least one indicator",
    "trial.features.indicators=[close, close]": "'close' twice",
    "trial.features.indicators=[nope]": "no indicator 'nope'",
    "trial.features.lookback=0": "at least 1",
    "trial.features.lookback=5000": "train window",
    "trial.features.scaling=robust": "'winsorised', 'moments'",
    "trial.market.n_bars=30": "train window",
    "trial.market.interval=7q": "a number and a unit",
    "trial.market.interval=0h": "a number and a unit",
    "trial.market.n_outages=5000": "below n_bars",
    "trial.market.kind=nope": "one of files, simulator",
    "trial.market={kind: files}": "is required and missing",
    "trial.market={kind: files, path: '.', from: yesterday}": "must be a date",
    "trial.market={kind: files, path: '.', from: 2024-13-01}": "must be a date",
    "trial.market={kind: files, path: '.', from: 2024-01-02, to: 2024-01-01}": "later than `from`",
    "trial.market={kind: files, path: '.', symbols: [BTC, btc]}": "'btc' twice",
    "trial.windows={kind: nope}": "one of single, walk_forward, combinatorial",
    "trial.windows.validation=0.9": "leave bars for training",
    "trial.windows.purge=1": "at least lookback + holding",
    "trial.windows={kind: walk_forward, n_folds: 1000}": "of every fold",
    "trial.windows={kind: combinatorial, n_groups: 2, n_validation_groups: 2}": "groups to train on",
    "trial.encoder={kind: nope}": "one of ft, mlp",
    "trial.encoder={kind: ft, d_token: 33}": "multiple of n_heads",
    "trial.encoder={kind: ft, d_token: 32, n_heads: 5}": "multiple of n_heads",
    "trial.encoder={kind: ft, pretrained: nowhere.pth}": "no such checkpoint",
    "trial.encoder={hidden: 64, d_token: 32}": "kind: ft | mlp",
    "search.objective=validation/nope": "is never reported",
    "search.objective=test/sharpe": "is never reported",
    "search.direction=up": "'maximize', 'minimize'",
    "search.direction=minimize": "better the other way",
    "search.objectives=[{metric: validation/sharpe}]": "required and missing",
    "search.constraints=['validation/sharpe']": "METRIC <= NUMBER",
    "search.constraints=['nope <= 1']": "is never reported",
    "search.constraints=['validation/max_drawdown <= x']": "METRIC <= NUMBER",
    "search.constraints=['validation/max_drawdown ~ 1']": "METRIC <= NUMBER",
    "search.sampler=nope": "no such sampler",
    "search.sampler={kind: tpe, nope: 1}": "no such key",
    "search.scheduler=nope": "no such scheduler",
    "search.scheduler={kind: asha, reduction_factor: 1}": "did you mean 'reduction'",
    "search.n_trials=0": "at least 1",
    "search.budget={hours: -1}": "at least 0",
    "search.budget={days: 1}": "no such key",
    "search.patience_trials=0": "at least 1",
    "search.points=[{nope: 1}]": "no such search parameter",
    "search.points=7": "must be a list",
    "search.warm_start=nowhere": "is no run folder",
    "search.also_counts=[nowhere]": "must name run folders",
    "search.storage=sqlite:///x.db": "postgresql://",
    "search.storage=postgresql://me:secret@host/db": "without a password",
    "search.job=nope": "'trial', 'pretraining'",
    "search.pending_timeout=soon": "must be an int",
    "=1": "PATH=VALUE",
    "trial.ppo.epochs": "PATH=VALUE",
    "trial..epochs=1": "no such key",
    ".trial=1": "no such key",
}

FILES = {
    "": "must hold a mapping",
    "- 1\n": "must hold a mapping",
    "hello\n": "must hold a mapping",
    "trial:\n\tppo: {}\n": "not valid YAML",
    "trial: {ppo: {\n": "not valid YAML",
    "trial: {}\ntrial: {}\n": "trial is given twice, the second time in line 2",
    "trial: {ppo: {epochs: 1, epochs: 2}}\n": "epochs is given twice",
    "trial: &a {ppo: *a}\n": "holds itself",
    "trial: !!python/object:os.system {}\n": "not valid YAML",
    "trial: *nowhere\n": "undefined alias",
    "trial: {}\n---\ntrial: {}\n": "not valid YAML",
    "\x00\x01": "not valid YAML",
    "1: {}\n": "no such key",
    f"trial: {'[' * 2_000}{']' * 2_000}\n": "nested too deeply",
}

HEAD = "date,open,high,low,close,volume"
ROWS = [f"2024-01-0{1 + hour // 24} {hour % 24:02}:00:00,10,12,9,11,5" for hour in range(60)]


def rows(*changes: tuple[int, str], head: str = HEAD) -> str:
    """A CSV of 60 good bars with some of its rows replaced."""
    lines = list(ROWS)
    for at, row in changes:
        lines[at] = row
    return "\n".join([head, *lines]) + "\n"


def at(hour: int, values: str) -> tuple[int, str]:
    """The row of that hour with other values."""
    return hour, f"{ROWS[hour].split(',')[0]},{values}"


CANDLES = {
    "nothing": ("", "BTC.csv"),
    "a head alone": (f"{HEAD}\n", "BTC.csv"),
    "a missing column": (rows(head="date,open,high,low,close,amount"), "volume"),
    "no times": (rows(head="when,open,high,low,close,volume"), "date"),
    "a price as text": (rows(at(30, "ten,12,9,11,5")), "open"),
    "no price": (rows(at(30, ",12,9,11,5")), "open"),
    "a price of 0": (rows(at(30, "0,12,0,11,5")), "must be"),
    "a price below 0": (rows(at(30, "-10,12,-10,11,5")), "must be"),
    "a price without end": (rows(at(30, "10,inf,9,11,5")), "high"),
    "a high below the close": (rows(at(30, "10,10.5,9,11,5")), "high"),
    "a low above the open": (rows(at(30, "10,12,10.5,11,5")), "low"),
    "a volume below 0": (rows(at(30, "10,12,9,11,-5")), "volume"),
    "a time twice": (rows((30, ROWS[29])), "row"),
    "a time out of order": (rows((30, ROWS[20])), "row"),
    "a time between two bars": (rows((30, ROWS[30].replace(":00:00", ":07:00"))), "row"),
    "a time that is none": (rows((30, "soon,10,12,9,11,5")), "soon"),
    "days and months that nobody can tell apart": (
        "\n".join([HEAD, *(f"0{1 + h // 24}/02/2024 {h % 24:02}:00,10,12,9,11,5" for h in range(60))]) + "\n",
        "2024",
    ),
    "a file of another kind": ("\x89PNG\r\n\x1a\n", "BTC.csv"),
}
"""What a CSV holds, and a word of the refusal."""

CLUSTER = """
provider: {type: aws, region: us-west-2}
head_node_type: head
max_workers: 4
available_node_types:
  head: {resources: {CPU: 0}, node_config: {InstanceType: m7i.large}}
  gpus:
    resources: {CPU: 16, GPU: 1, "accelerator_type:L4": 1}
    labels: {ray.io/market-type: spot}
    max_workers: 4
    node_config: {InstanceType: g6.4xlarge}
"""
CLUSTERS = {
    ("GPU: 1", "GPU: 4"): "must be 1, those of g6.4xlarge, got 4",
    ("GPU: 1", "GPU: -1"): "at least 0, got -1",
    ("GPU: 1", "GPU: many"): "got 'many'",
    ("GPU: 1", "GPU: .nan"): "got nan",
    ("GPU: 1", "GPU: .inf"): "got inf",
    ("GPU: 1", "GPU: true"): "got True",
    ("CPU: 16", "CPU: 64"): "must be at most 16, the cores of g6.4xlarge, got 64",
    ("CPU: 16", "CPU: null"): "got None",
    ("CPU: 16", "CPU:"): "must be a YAML file that can be read",
    ("CPU: 0", "CPU: 8"): "must be at most 2, the cores of m7i.large, got 8",
    ("type:L4", "type:L40S"): "must be accelerator_type:L4, the GPU of g6.4xlarge",
    ("type:L4", "type:T4"): "must be accelerator_type:L4, the GPU of g6.4xlarge",
    ("g6.4xlarge", "m7i.4xlarge"): "must be 0, those of m7i.4xlarge, got 1",
    ("g6.4xlarge", "g6.12xlarge"): "must be 4, those of g6.12xlarge, got 1",
    ("{ray.io/market-type: spot}", "{ray.io/accelerator-type: T4}"): "must be L4, the GPU of g6.4xlarge",
    ("{ray.io/market-type: spot}", "{ftray/price-per-hour: 1.3}"): "must be text, in quotes, got 1.3",
    ("{ray.io/market-type: spot}", "spot"): "labels must be a mapping, got 'spot'",
    ("    max_workers: 4", "    max_workers: -4"): "max_workers must be a number, at least 0, got -4",
    ("    max_workers: 4", "    max_workers: four"): "got 'four'",
    ("available_node_types", "available_node_type"): "with available_node_types",
    ("max_workers: 4\navail", "max_workers: 4\nmax_workers: 5\navail"): "max_workers is given twice",
}
"""What is changed in a cluster file, and a word of the refusal."""

WORDS = {
    ("results", "runs/old", "--top", "0"): "--top",
    ("results", "runs/old", "--top", "-1"): "--top",
    ("results", "runs/old", "--top", "many"): "--top",
    ("promote", "runs/old", "--seeds", "1"): "--seeds",
    ("promote", "runs/old", "--seeds", "x"): "--seeds",
    ("init", "candles", "--hours", "0"): "--hours",
    ("init", "candles", "--hours", "nan"): "--hours",
    ("init", "candles", "--interval", "7q"): "--interval",
    ("backtest", "runs/old", "--market", "candles", "--from", "yesterday"): "--from",
    ("backtest", "runs/old", "--from", "2024-01-01"): "--market",
    ("backtest", "runs/old", "--window", "test"): "--window",
    ("dashboard", "runs/old", "--port", "99999999"): "--port",
    ("check", "study.yaml", "--gpu", "nan"): "nan",
    ("check", "study.yaml", "--gpu", "T5"): "did you mean 'T4'",
    ("check", "runs"): "`ftray init runs` writes one",
    ("results", "runs"): "name one of them: old",
    ("results", "study.yaml"): "must be a run folder",
    ("status", "--cluster", "nowhere.yaml"): "does not exist",
    ("report", "runs/old", "--html", "old.html"): "ftray report: error: unrecognized arguments: --html",
    ("nope",): "nope",
    (): "COMMAND",
    ("tune",): "FILE",
    ("tune", "study.yaml", "--nope"): "--nope",
}
