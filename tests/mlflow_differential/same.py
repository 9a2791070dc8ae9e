# SPDX-License-Identifier: Apache-2.0
"""MLprojects for which our final command is MLflow's, byte for byte but for blanks at its ends."""


def project(command, parameters="", style=""):
    """One entry point main; parameters are flow style: `lr: {type: float, default: 7e-6}`."""
    lines = "".join(f"      {line}\n" for line in parameters.split("; ") if line)
    block = f"    parameters:\n{lines}" if lines else ""
    return f"name: t\nentry_points:\n  main:\n{block}    command: {style}{command}\n"


VALUES = [
    "16", "1e-5", "7e-6", "a b", "", "None", "--nocache", "*.nc", "$(touch x); \"'", "it's", "'",
    '"', "`id`", "$HOME", "a;b", "a|b&c", "x>y", "#", "~", "!", "\\", "a\\b", "two\nlines", "tab\there",
    "größe", "{x}", "{{}}", "%s", "a=b", "@/,:+._-", "a\u00a0b", "-", "--", "(a)", "[1, 2]",
]

CASES = [(f"value {value!r}", project("python main.py --x {x} {x}/y", "x: string"), "main",
          {"x": value}) for value in VALUES]

CASES += [(name, text, entry, values) for name, text, entry, values in [
    ("no parameters", project("python main.py"), "main", {}),
    ("default text", project("run {x}", "x: {type: string, default: hello}"), "main", {}),
    ("default with blanks", project("run {x}", "x: {default: 'a b'}"), "main", {}),
    ("empty default", project("run {x} end", "x: {type: string, default: ''}"), "main", {}),
    ("default None", project("run {x}", "x: {type: int, default: None}"), "main", {}),
    ("default flag", project("run {x}", "x: {type: string, default: --nocache}"), "main", {}),
    ("scientific default, text for YAML 1.1", project("run {x}", "x: {type: float, default: 7e-6}"),
     "main", {}),
    ("whole number", project("run {x}", "x: {type: int, default: 100}"), "main", {}),
    ("negative", project("run {x}", "x: {type: int, default: -3}"), "main", {}),
    ("decimal", project("run {x}", "x: {type: float, default: 0.5}"), "main", {}),
    ("True", project("run {x}", "x: {type: bool, default: True}"), "main", {}),
    ("given over default", project("run {x}", "x: {type: int, default: 1}"), "main", {"x": "2"}),
    ("short form", project("run {x}", "x: float"), "main", {"x": "3"}),
    ("list type", project("run {x}", "x: {type: 'list[int]', default: '0 1'}"), "main", {}),
    ("type that is no type", project("run {x}", "x: {type: anything, default: 1}"), "main", {}),
    ("default disagrees with type", project("run {x}", "x: {type: int, default: abc}"), "main", {}),
    ("hyphen in name", project("run {data-path}", "data-path: string"), "main", {"data-path": "d"}),
    ("blank in name", project("run {a b}", "a b: string"), "main", {"a b": "d"}),
    ("twice", project("run {x} {x}", "x: string"), "main", {"x": "a b"}),
    ("inside a path", project("run {a}/{b}/2020*T.nc", "a: string; b: string"), "main",
     {"a": "/data", "b": "5GB"}),
    ("literal braces", project("run ${{HOME}} {x} {{}}", "x: string"), "main", {"x": "1"}),
    ("unused parameter", project("run", "x: {type: string, default: 1}"), "main", {}),
    ("pipe", project("cat {x} | wc -l", "x: path"), "main", {"x": "in"}),
    ("command substitution", project("run $(hostname) {x}", "x: string"), "main", {"x": "a b"}),
    ("substitution in quotes", project('"run \\"$(cat {x})\\""', "x: string"), "main",
     {"x": "a b"}),
    ("uri", project("curl {x}", "x: uri"), "main", {"x": "https://example.org/a?b=c&d"}),
    ("plain value in double quotes", project("'echo \"{x}\"'", "x: string"), "main", {"x": "abc"}),
    ("plain value in single quotes", project("\"echo '{x}'\"", "x: string"), "main", {"x": "a/b"}),
    ("plain value for a second shell", project("\"bash -c 'run {x}'\"", "x: string"), "main",
     {"x": "a/b"}),
    ("quoted command over two lines",
     "entry_points:\n  main:\n    command: \"python main.py --a 1\n      --b 2\"\n", "main", {}),
    ("folded at one depth",
     "entry_points:\n  main:\n    command: >\n      python main.py\n      --a 1\n", "main", {}),
    ("folded and stripped",
     "entry_points:\n  main:\n    command: >-\n      python main.py\n      --a 1\n", "main", {}),
    ("literal block of two commands",
     "entry_points:\n  main:\n    command: |\n      python a.py\n      python b.py\n", "main", {}),
    ("literal block with a loop",
     "entry_points:\n  main:\n    command: |\n      for i in 1 2; do\n        run $i\n      done\n",
     "main", {}),
    ("literal block with quotes over lines",
     "entry_points:\n  main:\n    command: |\n      python -c '\n      print(1)\n      '\n", "main",
     {}),
    ("here-document",
     "entry_points:\n  main:\n    command: |\n      cat <<EOF\n      - a\n      EOF\n", "main", {}),
    ("parameter order", project("run {b} {a}", "a: {default: x}; b: {default: y}"), "main", {}),
    ("docker_env beside", "docker_env: {image: a}\n" + project("run"), "main", {}),
    ("conda_env beside", "conda_env: conda.yaml\n" + project("run"), "main", {}),
    ("python_env beside", "python_env: python_env.yaml\n" + project("run"), "main", {}),
    ("unknown top key", "venv: x\n" + project("run"), "main", {}),
    ("description of a parameter",
     project("run {x}", "x: {type: int, default: 1, description: 'how many'}"), "main", {}),
]]

# Both refuse; the words differ.
REFUSED = [
    ("missing value", project("run {x}", "x: string"), "main", {}),
    ("default null", project("run {x}", "x: {type: int, default: null}"), "main", {}),
    ("default of nothing", project("run {x}", "x: {type: int, default: }"), "main", {}),
    ("undefined placeholder", project("run {y}", "x: {default: 1}"), "main", {}),
    ("unescaped shell variable", project("run ${HOME}"), "main", {}),
    ("empty placeholder", project("run {}"), "main", {}),
    ("single brace", project("'run {'"), "main", {}),
    ("single closing brace", project("'run }'"), "main", {}),
    ("no address", project("run {x}", "x: uri"), "main", {"x": "file"}),
    ("no such entry point", project("run"), "train", {}),
    ("tabs", "entry_points:\n\tmain:\n\t\tcommand: run\n", "main", {}),
    ("not YAML", "entry_points: {main: {command: run\n", "main", {}),
    ("no command", "entry_points:\n  main:\n    parameters: {x: {default: 1}}\n", "main", {}),
    ("two environments", "conda_env: conda.yaml\npython_env: python_env.yaml\n" + project("run"),
     "main", {}),
    ("entry point of nothing", "entry_points:\n  main:\n", "main", {}),
    ("docker without image", "docker_env: {volumes: []}\n" + project("run"), "main", {}),
]
