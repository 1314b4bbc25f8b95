# SPDX-License-Identifier: Apache-2.0
"""Cases on disk -> Case objects. The format is told in README.md."""
import pathlib

import yaml

HERE = pathlib.Path(__file__).parent / "cases"
KEYS = {"name", "level", "send", "upstream", "upstream_close", "methods", "after", "expect"}
EXPECT_KEYS = {"status", "statuses", "close", "cut", "body", "upstream_requests", "upstream_has", "upstream_lacks",
               "client_has", "client_lacks"}


def to_bytes(text):
    """A string is bytes by their numbers; a list is joined; {repeat: x, times: n} is x n times."""
    if isinstance(text, list):
        return b"".join(to_bytes(part) for part in text)
    if isinstance(text, dict):
        return to_bytes(text["repeat"]) * text["times"]
    return text.encode("latin-1")


def to_list(x):
    return x if isinstance(x, list) else [x]


class Case:
    def __init__(self, group, defaults, spec):
        spec = {**{k: v for k, v in defaults.items() if k != "expect"}, **spec,
                "expect": {**defaults.get("expect", {}), **spec.get("expect", {})}}
        unknown = (set(spec) - KEYS) | (set(spec["expect"]) - EXPECT_KEYS)
        if unknown:
            raise ValueError(f"{group}/{spec.get('name')}: unknown keys {sorted(unknown)}")
        if spec["level"] not in ("MUST", "BAR"):
            raise ValueError(f"{group}/{spec['name']}: level {spec['level']}")
        self.id = f"{group}/{spec['name']}"
        self.level = spec["level"]
        self.send = to_bytes(spec["send"])
        self.after = spec.get("after", "open")
        self.methods = [m.encode() for m in to_list(spec.get("methods", "GET"))]
        self.answers = [to_bytes(a) for a in to_list(spec["upstream"])] if "upstream" in spec else None
        self.upstream_close = spec.get("upstream_close", False)
        expect = spec["expect"]
        # One list of accepted statuses for each answer; "none": no answer may come instead.
        self.statuses = [to_list(s) for s in expect["statuses"]] if "statuses" in expect else [to_list(expect["status"])]
        self.expect = expect


def load():
    cases = []
    for path in sorted(HERE.glob("*.yaml")):
        document = yaml.safe_load(path.read_text())
        defaults = document.get("defaults", {})
        cases += [Case(path.stem, defaults, spec) for spec in document["cases"]]
    ids = [c.id for c in cases]
    doubles = {i for i in ids if ids.count(i) > 1}
    if doubles:
        raise ValueError(f"case names used twice: {sorted(doubles)}")
    return cases
