# SPDX-License-Identifier: Apache-2.0
"""
The known differences to MLflow, each with its reason. Both sides are checked: a change of MLflow
shows here first. `ours` and `mlflow` are the command, or "!" and a part of the error.
"""
from same import project

FOLD = "entry_points:\n  main:\n    command: {style}\n{lines}"


def block(style, *lines):
    return FOLD.format(style=style, lines="".join(f"      {line}\n" for line in lines))


LINES = ("Deeper lines of a folded block keep their line ends in YAML, so that under bash only the "
         "first line has its arguments. Their authors meant one command (the platform joins them).")
BACKSLASH = ("A backslash at a line's end that the platform turns into an argument of one blank: "
             "joined and dropped, as bash would do with the line end.")
TEXT = ("A default is the text that was written: a program that gets 0.00003 must not see another "
        "spelling because YAML 1.1 knows numbers.")
QUOTES = ("shlex.quote is right only outside of quotes. Between quotes MLflow passes on the quotes "
          "it adds, or lets the value become code.")
UNSAFE = "There is no quoting that is safe at this place, so only plain values are taken."

# (name, reason, MLproject, parameters, MLflow's command, ours)
DIFFERENCES = [
    ("folded deeper lines", LINES, block(">", "python main.py", "  --a 1", "  --b 2"), {},
     "python main.py\n  --a 1\n  --b 2\n", "python main.py --a 1 --b 2"),
    ("folded back to the first depth", LINES, block(">", "python main.py", "  --a 1", "--b 2"), {},
     "python main.py\n  --a 1\n--b 2\n", "python main.py --a 1 --b 2"),
    ("folded over an empty line", LINES, block(">", "python main.py", "", "  --a 1"), {},
     "python main.py\n\n  --a 1\n", "python main.py --a 1"),
    ("literal block with options on lines", LINES, block("|", "python main.py", "  --a 1", "  --b 2"),
     {}, "python main.py\n  --a 1\n  --b 2\n", "python main.py --a 1 --b 2"),
    ("backslash and deeper lines", BACKSLASH, block(">", "python main.py \\", "  --a 1 \\", "  --b 2"),
     {}, "python main.py \\\n  --a 1 \\\n  --b 2\n", "python main.py --a 1 --b 2"),
    ("backslash and blanks", BACKSLASH, block("|", "python main.py \\  ", "  --a 1"), {},
     "python main.py \\  \n  --a 1\n", "python main.py --a 1"),
    ("backslash that was folded away", BACKSLASH, block(">", "python main.py \\", "--a 1"), {},
     "python main.py \\ --a 1\n", "python main.py --a 1"),
    ("backslash at the end", BACKSLASH, block(">", "python main.py \\"), {},
     "python main.py \\\n", "python main.py"),
    ("small float", TEXT, project("run {x}", "x: {type: float, default: 0.00003}"), {},
     "run 3e-05\n", "run 0.00003"),
    ("float with a bare point", TEXT, project("run {x}", "x: {type: float, default: 1.}"), {},
     "run 1.0", "run 1."),
    ("float without a zero", TEXT, project("run {x}", "x: {type: float, default: .001}"), {},
     "run 0.001", "run .001"),
    ("yes", TEXT, project("run {x}", "x: {type: bool, default: yes}"), {}, "run True", "run yes"),
    ("false", TEXT, project("run {x}", "x: {type: bool, default: false}"), {}, "run False",
     "run false"),
    ("octal", TEXT, project("run {x}", "x: {type: str, default: 010}"), {}, "run 8", "run 010"),
    ("base 60", TEXT, project("run {x}", "x: {type: str, default: 12:30:00}"), {}, "run 45000",
     "run 12:30:00"),
    ("date", TEXT, project("run {x}", "x: {type: str, default: 2020-03-01 00:00:00}"), {},
     "run '2020-03-01 00:00:00'", "run '2020-03-01 00:00:00'"),
    ("underscores", TEXT, project("run {x}", "x: {type: int, default: 1_000}"), {}, "run 1000",
     "run 1_000"),
    ("default that is a list", "A list has no one text; MLflow takes Python's.",
     project("run {x}", "x: {default: [1, 2]}"), {}, "run '[1, 2]'",
     "!default of the parameter x is a list"),
    ("parameters: null", "An empty block is no parameters.",
     "entry_points:\n  main:\n    parameters:\n    command: run\n", {}, "!AttributeError", "run"),
    ("parameter of nothing", "A name alone is a parameter without type and default.",
     "entry_points:\n  main:\n    parameters:\n      x:\n    command: run {x}\n", {"x": "1"},
     "!AttributeError", "run 1"),
    ("unknown parameter", "Appending `--learnin_rate 1` hides a misspelt name until the job has "
     "run with the default.", project("run {learning_rate}", "learning_rate: {default: 0.1}"),
     {"learnin_rate": "1"}, "run 0.1 --learnin_rate 1",
     '!has no parameter "learnin_rate", did you mean "learning_rate"?'),
    ("value in double quotes", QUOTES, project("'echo \"{x}\"'", "x: string"), {"x": "a b"},
     "echo \"'a b'\"", 'echo "a b"'),
    ("code in double quotes", QUOTES, project("'echo \"{x}\"'", "x: string"),
     {"x": "$(touch x); \"'"}, "echo \"'$(touch x); \"'\"'\"''\"",
     "echo \"\\$(touch x); \\\"'\""),
    ("value in single quotes", QUOTES, project("\"echo '{x}'\"", "x: string"), {"x": "a; touch x"},
     "echo ''a; touch x''", "echo 'a; touch x'"),
    ("quote in single quotes", QUOTES, project("\"echo '{x}'\"", "x: string"), {"x": "it's"},
     "echo ''it'\"'\"'s''", "echo 'it'\"'\"'s'"),
    ("empty in double quotes", QUOTES, project("'echo \"{x}\"'", "x: string"), {"x": ""},
     "echo \"''\"", 'echo ""'),
    ("second shell", UNSAFE, project("\"bash -c 'run {x}'\"", "x: string"), {"x": "a b"},
     "bash -c 'run 'a b''", "!{x} stands in a text that a second shell reads (-c)"),
    ("backticks", UNSAFE, project("run `cat {x}`", "x: string"), {"x": "a b"}, "run `cat 'a b'`",
     "!{x} stands inside `…`"),
    ("behind a dollar", UNSAFE, project("run ${x}", "x: string"), {"x": "(id)"}, "run $'(id)'",
     "!{x} stands behind a $"),
    ("in ${…}", UNSAFE, project("run ${{A:-{x}}}", "x: string"), {"x": "$(id)"},
     "run ${A:-'$(id)'}", "!{x} stands inside ${…}"),
    ("in arithmetic", UNSAFE, project("run $(( {x} + 1 ))", "x: string"), {"x": "a[$(id)]"},
     "run $(( 'a[$(id)]' + 1 ))", "!{x} stands inside arithmetic"),
    ("format specification", "Only names stand in braces; no file in the wild has more.",
     project("run {x:>5}", "x: {default: ab}"), {}, "run    ab",
     "!only a parameter's name can stand in the braces"),
    ("attribute", "A name may hold a point.", project("run {a.b}", "a.b: {default: 1}"), {},
     "!KeyError", "run 1"),
    ("script as entry point", "`command: python train.py` says the same and takes parameters.",
     project("run"), {"@entry": "train.py"}, "python train.py",
     "!a script is run by `command: python train.py`"),
    ("unclosed quotes", "Such a command would swallow what follows it in the job script.",
     project("\"echo 'a\""), {}, "echo 'a", "!the command holds a ' that is not closed"),
    ("path that is an address", "Fetching before the job is not there yet.",
     project("cat {x}", "x: path"), {"x": "https://example.org/a"}, "cat https://example.org/a",
     "!not supported yet: an address as value of the path parameter x"),
    ("path that is not here", "The path is the job's, on its site; it may exist there only.",
     project("cat {x}", "x: path"), {"x": "in.txt", "@storage": "yes"},
     "!Got value in.txt for parameter x, but no such file", "cat in.txt"),
    ("path that is here", "MLflow makes it absolute in the directory it was started in; a job runs "
     "elsewhere.", project("cat {x}", "x: path"), {"x": "/etc/../etc", "@storage": "yes"}, "cat /etc",
     "cat /etc/../etc"),
    ("duplicate key", "One of the two was meant; the last wins silently in MLflow.",
     "entry_points:\n  main:\n    command: a\n    command: b\n", {}, "b", '!"command"'),
]
