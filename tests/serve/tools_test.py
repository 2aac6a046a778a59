"""Tools of templates that write calls in their own form: the template renders them, a forced call parses, whole and streamed."""
import json
import pathlib
import sys
import unittest

import server

server.need_model()

TEMPLATES = pathlib.Path(sys.argv[2], "tests/chat/templates")
ADD = {"type": "function", "function": {"name": "add", "description": "The sum of two numbers", "parameters": {
    "type": "object", "properties": {"a": {"type": "integer", "maximum": 999}, "b": {"type": "integer", "maximum": 999}},
    "required": ["a", "b"], "additionalProperties": False}}}


class Llama(server.WithServer):
    flags = ("--chat-template", str(TEMPLATES / "llama3.jinja"), "-c", "2048")

    def chat(self, messages, **options):
        status, _, body = self.server.post("/v1/chat/completions", {"messages": messages, "tools": [ADD], "temperature": 0, "max_tokens": 100,
                                                                    **options})
        self.assertEqual(status, 200, body)
        return body

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
        messages = [{"role": "user", "content": "What is 2 + 3?"}]
        whole = self.chat(messages, tool_choice="required")["choices"][0]["message"]["tool_calls"][0]
        text = self.server.request("POST", "/v1/chat/completions", {"messages": messages, "tools": [ADD], "temperature": 0, "max_tokens": 100,
                                                                    "tool_choice": "required", "stream": True})[2]
        chunks = [json.loads(line[6:])["choices"][0] for line in text.splitlines() if line.startswith("data: {")]
        calls = [call for c in chunks for call in c["delta"].get("tool_calls", [])]
        self.assertEqual([call["function"] for call in calls], [whole["function"]])
        self.assertEqual([c["finish_reason"] for c in chunks if c["finish_reason"]], ["tool_calls"])
        self.assertFalse("".join(c["delta"].get("content") or "" for c in chunks))

    def test_text(self):
        answer = self.chat([{"role": "user", "content": "Say hello."}], tool_choice="auto", max_tokens=20)["choices"][0]["message"]
        self.assertTrue(answer["content"] or answer["tool_calls"])


if __name__ == "__main__":
    server.main()
