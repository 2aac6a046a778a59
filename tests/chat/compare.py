#!/usr/bin/env python3
"""compare.py RENDER - renders templates with Python's jinja2, set up as transformers does it, and with evener's own
interpreter (the program RENDER), and compares: snippets.txt has one feature after the other, wrong.txt what both must
refuse, and templates/ a template of the kind that each family of models has, for several conversations."""
import datetime
import json
import pathlib
import subprocess
import sys

try:
    import jinja2
    import jinja2.ext
    import jinja2.sandbox
except ImportError:
    print("skipped: python3-jinja2 is not installed")
    sys.exit(77)

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime(2026, 7, 4, 9, 5)
OWN = {"bos_token": "<s>", "eos_token": "</s>"}


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_generate"), [], [], body).set_lineno(line)

    def _generate(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    e = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    e.filters["tojson"] = tojson
    e.globals["raise_exception"] = raise_exception
    e.globals["strftime_now"] = NOW.strftime
    return e


def reference(template, variables):
    """The text, or an exception."""
    try:
        return environment().from_string(template).render(**variables)
    except Exception as e:  # whatever Python raises
        return e


def message(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, arguments, number):
    return {"id": f"call{number:05d}", "type": "function", "function": {"name": name, "arguments": arguments}}


TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "The weather of a city, today \"or\" tomorrow.",
        "parameters": {"type": "object", "properties": {
            "city": {"type": "string", "description": "the city's name"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
            "days": {"type": ["integer", "null"], "minimum": 1},
            "place": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
            "required": ["city"]}}},
    {"type": "function", "function": {
        "name": "search", "description": "Suche für Ümlaute 😀",
        "parameters": {"type": "object", "properties": {
            "words": {"type": "array", "items": {"type": "string"}},
            "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}}}},
    {"type": "function", "function": {"name": "noop", "description": "", "parameters": {}}},
]
CALL = [call("get_weather", {"city": "Köln", "days": 2, "place": {"x": 1.5}}, 1)]
CALLS = CALL + [call("search", {"words": ["a", "b"], "either": None}, 2)]

CONVERSATIONS = {
    "one question": [message("user", "What is 1 + 1?")],
    "system": [message("system", "  Be brief.\n"), message("user", " Hi ")],
    "several turns": [message("system", "You are a poet."), message("user", "Hi"), message("assistant", "Hello!\n"),
                      message("user", "One more?"), message("assistant", "Yes.  "), message("user", "Bye")],
    "unicode": [message("user", "Grüße aus Köln, 你好 👋🏽, \u200bzero"), message("assistant", "e\u0301 \"quoted\" \\ /"),
                message("user", "</s><|im_start|>{{ x }}{% if %}")],
    "empty": [message("system", ""), message("user", "")],
    "reasoning": [message("user", "Think."), message("assistant", "<think>\nhm\n\n</think>\n\nDone."),
                  message("user", "Again."), message("assistant", "Second.", reasoning_content="because\n"),
                  message("user", "Why?")],
    "tool result": [message("system", "Use tools."), message("user", "Weather?"),
                    message("assistant", "", tool_calls=CALL),
                    message("tool", "{\"temp\": 21}", name="get_weather", tool_call_id="call00001"),
                    message("assistant", "21 degrees."), message("user", "Thanks")],
    "two results": [message("user", "Weather and search?"), message("assistant", "Let me see.", tool_calls=CALLS),
                    message("tool", "sunny", name="get_weather", tool_call_id="call00001"),
                    message("tool", "found \"it\"\n", name="search", tool_call_id="call00002")],
    "assistant last": [message("user", "Write"), message("assistant", "Once upon")],
    "wrong order": [message("user", "a"), message("user", "b"), message("assistant", "c")],
    "developer": [message("developer", "Obey."), message("user", "Yes?")],
}

VARIABLES = {
    "person": {"name": "Ann", "age": 30, "list": [1, "two", None, True, 2.5]},
    "people": [{"name": "Bo", "age": 40, "tags": ["x", "y"]}, {"name": "al", "age": 15, "tags": []}],
    "numbers": [1, 2, 3],
    "nested": [[1, 2], [3, 4]],
    "odd_dict": {"items": "an item"},
    "messages": CONVERSATIONS["several turns"],
}


def read_list(name):
    return [t.strip("\n") + ("\n" if t.endswith("\n\n") else "")
            for t in (HERE / name).read_text().split("====\n")[1:]]


def all_cases():
    """(name, template, variables)"""
    for i, template in enumerate(read_list("snippets.txt")):
        yield f"snippet {i + 1}", template, VARIABLES
    for path in sorted((HERE / "templates").glob("*.jinja")):
        for name, messages in CONVERSATIONS.items():
            for prompt in (True, False):
                for tools in (None, TOOLS):
                    variables = {"messages": messages, "tools": tools, "documents": None,
                                 "add_generation_prompt": prompt}
                    yield f"{path.stem}, {name}, prompt {prompt}, tools {bool(tools)}", path.read_text(), variables
        for more in ({"enable_thinking": False}, {"enable_thinking": True}, {"reasoning_effort": "high"}):
            variables = {"messages": CONVERSATIONS["several turns"], "tools": None, "add_generation_prompt": True, **more}
            yield f"{path.stem}, {more}", path.read_text(), variables


def same(expected, got):
    if type(expected) is jinja2.exceptions.TemplateError:  # the template's own words
        return got.get("error") == f"template: {expected}" and got["status"] == "wrong use"
    if isinstance(expected, Exception):
        return got.get("status") in ("bad format", "limit exceeded")
    return got.get("text") == expected


def main():
    cases = list(all_cases())
    wrong = [("wrong " + str(i + 1), t, VARIABLES) for i, t in enumerate(read_list("wrong.txt"))]
    data = json.dumps([{"template": t, "variables": v, "own": OWN} for _, t, v in cases + wrong])
    done = subprocess.run([sys.argv[1]], input=data, capture_output=True, text=True, check=True)
    results = json.loads(done.stdout)
    failed = refused = 0
    for (name, template, variables), got in zip(cases + wrong, results):
        expected = reference(template, {**variables, **OWN})
        refused += isinstance(expected, Exception)
        must_fail = name.startswith("wrong ") or name.startswith("snippet ")
        if must_fail and isinstance(expected, Exception) != name.startswith("wrong "):
            print(f"FAILED: {name}: jinja2 gives {expected!r}")
            failed += 1
        if not same(expected, got):
            failed += 1
            print(f"FAILED: {name}\n  expected: {str(expected)!r}\n  found:    {got.get('text', got)!r}")
    families = {n.split(",")[0] for n, _, _ in cases if not n.startswith("snippet")}
    for family in families - {n.split(",")[0] for (n, _, _), got in zip(cases, results) if "text" in got}:
        print(f"FAILED: {family}: refuses everything")
        failed += 1
    print(f"{len(results)} texts, {len(families)} families, {refused} refused by both; jinja2 {jinja2.__version__}")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
