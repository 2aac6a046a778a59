"""Tools of templates that write calls in their own form: the template renders them, a forced call parses, whole and streamed."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import server

server.need_model()

REPO = pathlib.Path(sys.argv[2])
TEMPLATES = REPO / "tests/chat/templates"
ADD = {"type": "function", "function": {"name": "add", "description": "The sum of two numbers", "parameters": {
    "type": "object", "properties": {"a": {"type": "integer", "maximum": 999}, "b": {"type": "integer", "maximum": 999}},
    "required": ["a", "b"], "additionalProperties": False}}}


QUESTION = [{"role": "user", "content": "What is 2 + 3?"}]


class Family(server.WithServer):
    """A server whose model gets the chat template of a family."""

    def chat(self, messages, **options):
        status, _, body = self.server.post("/v1/chat/completions", {"messages": messages, "tools": [ADD], "temperature": 0, "max_tokens": 100,
                                                                    **options})
        self.assertEqual(status, 200, body)
        return body

    def stream(self, **options):
        text = self.server.request("POST", "/v1/chat/completions", {"messages": QUESTION, "tools": [ADD], "temperature": 0, "max_tokens": 100,
                                                                    "stream": True, **options})[2]
        return [json.loads(line[6:])["choices"][0] for line in text.splitlines() if line.startswith("data: {")]

    def forced_call(self):
        """A call that the grammar forces, whole and streamed; its message."""
        choice = self.chat(QUESTION, tool_choice="required", parallel_tool_calls=False)["choices"][0]
        (call,) = choice["message"]["tool_calls"]
        self.assertEqual((choice["finish_reason"], choice["message"]["content"], call["function"]["name"]), ("tool_calls", None, "add"))
        self.assertEqual(set(json.loads(call["function"]["arguments"])), {"a", "b"})
        chunks = self.stream(tool_choice="required", parallel_tool_calls=False)
        calls = [call for c in chunks for call in c["delta"].get("tool_calls", [])]
        self.assertEqual([c["function"] for c in calls], [call["function"]])
        self.assertEqual([c["finish_reason"] for c in chunks if c["finish_reason"]], ["tool_calls"])
        self.assertFalse("".join(c["delta"].get("content") or "" for c in chunks))
        return choice["message"]

    def prompt_with_result(self, message):
        (call,) = message["tool_calls"]
        messages = [*QUESTION, message, {"role": "tool", "tool_call_id": call["id"], "content": "5"}]
        return self.server.post("/apply-template", {"messages": messages, "tools": [ADD]})[2]["prompt"]


class Mistral(Family):
    flags = ("--chat-template", str(TEMPLATES / "mistral3.jinja"), "-c", "2048")

    def test_round_trip(self):
        message = self.forced_call()
        prompt = self.prompt_with_result(message)
        self.assertRegex(prompt, r'\[TOOL_CALLS\] ?\[\{"name": "add", "arguments": \{"a": .*"id": "[a-zA-Z0-9]{9}"')
        self.assertIn(message["tool_calls"][0]["id"], prompt)


class Gemma(Family):
    """There is no role for the system and no form of calls: the first message tells of the tools."""
    flags = ("--chat-template", str(TEMPLATES / "gemma2.jinja"), "-c", "2048")

    def test_round_trip(self):
        prompt = self.prompt_with_result(self.forced_call())
        self.assertRegex(prompt, r"<start_of_turn>user\nYou may call functions[^\0]*</tool_call>\n\nWhat is 2 \+ 3\?<end_of_turn>")
        self.assertIn("<start_of_turn>user\n<tool_response>\n5\n</tool_response><end_of_turn>", prompt)


class GptOss(Family):
    flags = ("--chat-template", str(TEMPLATES / "gpt_oss.jinja"), "-c", "2048")

    def test_round_trip(self):
        """SmolLM2 has no control tokens for channels, so they are text; it may think before it calls, but not for ever."""
        bias = {str(i): -100 for i in self.server.post("/tokenize", {"content": "analysis"})[2]["tokens"][:1]}
        choice = self.chat(QUESTION, tool_choice="required", logit_bias=bias)["choices"][0]
        (call,) = choice["message"]["tool_calls"]
        self.assertEqual((choice["finish_reason"], call["function"]["name"]), ("tool_calls", "add"))
        self.assertEqual(set(json.loads(call["function"]["arguments"])), {"a", "b"})
        calls = [call for c in self.stream(tool_choice="required", logit_bias=bias) for call in c["delta"].get("tool_calls", [])]
        self.assertEqual([c["function"] for c in calls], [call["function"]])
        self.assertIn("to=functions.add<|channel|>commentary", self.prompt_with_result(choice["message"]))


class ControlTokens(Family):
    """As with gpt-oss the marks are control tokens: a model of random weights is made to draw them."""
    folder = tempfile.TemporaryDirectory()
    marks = ("<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|end|>")
    flags = ("-m", folder.name + "/tiny.gguf", "--chat-template", str(TEMPLATES / "gpt_oss.jinja"))

    @classmethod
    def setUpClass(cls):
        subprocess.run([sys.executable, str(REPO / "scripts/make-tiny-model"), cls.folder.name + "/tiny.gguf", "--context", "4096",
                        *(f"--control={mark}" for mark in cls.marks)], check=True, stdout=subprocess.DEVNULL)
        super().setUpClass()

    def test_forced_call(self):
        """First a space, as in " to=functions.add", then marks rather than their letters; brackets and commas end the integers."""
        ids = {text: self.server.post("/tokenize", {"content": text, "parse_special": True})[2]["tokens"] for text in (*self.marks, " ", "}", ",")}
        self.assertEqual({len(ids[mark]) for mark in self.marks}, {1}, ids)
        bias = {str(ids[mark][0]): 50 for mark in self.marks} | {str(ids[" "][0]): 90, str(ids["}"][0]): 70, str(ids[","][0]): 60}
        choice = self.chat(QUESTION, tool_choice="required", logit_bias=bias, logprobs=True, max_tokens=300)["choices"][0]
        drawn = [token["token"] for token in choice["logprobs"]["content"]]
        (call,) = choice["message"]["tool_calls"]
        self.assertEqual((choice["finish_reason"], choice["message"]["content"], call["function"]["name"]), ("tool_calls", None, "add"), drawn)
        self.assertEqual(set(json.loads(call["function"]["arguments"])), {"a", "b"})
        self.assertEqual([token for token in drawn if token in self.marks], ["<|channel|>", "<|constrain|>", "<|message|>"], drawn)


class Llama(Family):
    flags = ("--chat-template", str(TEMPLATES / "llama3.jinja"), "-c", "2048")

    def test_round_trip(self):
        messages = [{"role": "user", "content": "What is 2 + 3?"}]
        first = self.chat(messages, tool_choice="required")["choices"][0]
        (call,) = first["message"]["tool_calls"]
        self.assertEqual((first["finish_reason"], first["message"]["content"], call["function"]["name"]), ("tool_calls", None, "add"))
        self.assertEqual(set(json.loads(call["function"]["arguments"])), {"a", "b"})
        messages += [first["message"], {"role": "tool", "tool_call_id": call["id"], "content": "5"}]
        prompt = self.server.post("/apply-template", {"messages": messages, "tools": [ADD]})[2]["prompt"]
        self.assertIn('"description": "The sum of two numbers"', prompt)
        self.assertIn('{"name": "add", "parameters": {"a": ', prompt)
        self.assertIn("<|start_header_id|>ipython<|end_header_id|>\n\n5<|eot_id|>", prompt)
        last = self.chat(messages, tool_choice="none", max_tokens=20)["choices"][0]["message"]
        self.assertTrue(last["content"])
        self.assertNotIn("tool_calls", last)

    def test_stream(self):
        self.forced_call()

    def test_text(self):
        answer = self.chat([{"role": "user", "content": "Say hello."}], tool_choice="auto", max_tokens=20)["choices"][0]["message"]
        self.assertTrue(answer["content"] or answer["tool_calls"])


if __name__ == "__main__":
    server.main()
