"""The unmodified anthropic client against the server: messages, streams, tools, errors."""
import unittest

import server

server.need_model()
server.need_clients()
import anthropic  # noqa: E402

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


def tool(name, description, **properties):
    return {"name": name, "description": description,
            "input_schema": {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}}


TOOLS = [tool("get_weather", "The weather of a city", city={"type": "string", "maxLength": 20}, unit={"enum": ["C", "F"]}),
         tool("add", "The sum of two numbers", a={"type": "integer", "maximum": 999}, b={"type": "integer", "maximum": 999}),
         tool("now", "The time")]


class Messages(server.WithServer):
    flags = ("--served-name", "smol", "-c", "2048")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.client = anthropic.Anthropic(base_url=cls.server.url, api_key="none", max_retries=0)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        super().tearDownClass()

    def options(self, **options):
        return {"model": "smol", "messages": QUESTION, "max_tokens": 12, "extra_body": {"temperature": 0}, **options}

    def ask(self, **options):
        return self.client.messages.create(**self.options(**options))

    def test_message(self):
        answer = self.ask()
        self.assertTrue(answer.id.startswith("msg-"))
        self.assertEqual((answer.type, answer.role, answer.model, len(answer.content)), ("message", "assistant", "smol", 1))
        self.assertIn("Paris", answer.content[0].text)
        self.assertIn(answer.stop_reason, ("end_turn", "max_tokens"))
        self.assertGreater(answer.usage.output_tokens, 3)
        chat = self.server.post("/v1/chat/completions", {"messages": QUESTION, "max_tokens": 12, "temperature": 0})[2]
        self.assertEqual(answer.content[0].text, chat["choices"][0]["message"]["content"])
        self.assertEqual(answer.usage.input_tokens, chat["usage"]["prompt_tokens"])
        self.assertEqual(self.ask(max_tokens=2).stop_reason, "max_tokens")
        cut = self.ask(stop_sequences=["Paris"])
        self.assertEqual(cut.stop_reason, "stop_sequence")
        self.assertNotIn("Paris", "".join(b.text for b in cut.content))

    def test_blocks_and_system(self):
        blocks = [{"role": "user", "content": [{"type": "text", "text": "What is the capital of"}, {"type": "text", "text": "France?"}]}]
        system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
        self.assertTrue(self.ask(messages=blocks, system=system).content)
        count = self.client.messages.count_tokens(model="smol", messages=blocks, system=system).input_tokens
        self.assertEqual(count, self.ask(messages=blocks, system=system).usage.input_tokens)
        self.assertEqual(count, self.ask(messages=blocks, system="Be brief.").usage.input_tokens)
        self.assertGreater(self.client.messages.count_tokens(model="smol", messages=blocks, tools=TOOLS).input_tokens, count)

    def test_stream(self):
        whole = self.ask()
        with self.client.messages.stream(**self.options()) as stream:
            events = [e.type for e in stream]
            final = stream.get_final_message()
        self.assertEqual((events[0], events[-1]), ("message_start", "message_stop"))
        for event in ("content_block_start", "content_block_delta", "content_block_stop", "message_delta"):
            self.assertIn(event, events)
        self.assertEqual([b.text for b in final.content], [b.text for b in whole.content])
        self.assertEqual((final.stop_reason, final.usage.output_tokens), (whole.stop_reason, whole.usage.output_tokens))

    def test_tools_round_trip(self):
        choice = {"type": "tool", "name": "get_weather"}
        messages = [{"role": "user", "content": "What is the weather in Paris, in C?"}]
        first = self.ask(messages=messages, tools=TOOLS, tool_choice=choice, max_tokens=100)
        self.assertEqual(first.stop_reason, "tool_use")
        (call,) = first.content
        self.assertEqual((call.type, call.name, set(call.input)), ("tool_use", "get_weather", {"city", "unit"}))
        with self.client.messages.stream(**self.options(messages=messages, tools=TOOLS, tool_choice=choice, max_tokens=100)) as stream:
            streamed = stream.get_final_message()
        self.assertEqual([(b.name, b.input) for b in streamed.content], [(call.name, call.input)])
        self.assertEqual(streamed.stop_reason, "tool_use")
        result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "21 degrees, sun"}]}
        messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
        last = self.ask(messages=messages, tools=TOOLS, tool_choice={"type": "none"}, max_tokens=30)
        self.assertEqual([b.type for b in last.content], ["text"])

    def test_any_tool(self):
        for seed in range(2):
            answer = self.ask(tools=TOOLS, tool_choice={"type": "any", "disable_parallel_tool_use": True}, max_tokens=160,
                              extra_body={"temperature": 1})
            if answer.stop_reason != "max_tokens":
                self.assertEqual([b.type for b in answer.content], ["tool_use"])

    def test_errors(self):
        for part, options in (("temperature", {"extra_body": {"temperature": "hot"}}), ("messages", {"messages": []}),
                              ("tool_choice", {"tool_choice": {"type": "x"}}), ("tool_choice", {"tool_choice": {"type": "any"}}),
                              ("input_schema", {"tools": [{"name": "f"}]}), ("tool_result", {"messages": [{"role": "user", "content": [
                                  {"type": "image", "source": {}}]}]})):
            with self.assertRaises(anthropic.BadRequestError) as caught:
                self.ask(**options)
            self.assertEqual(caught.exception.body["type"], "error")
            self.assertEqual(caught.exception.body["error"]["type"], "invalid_request_error")
            self.assertIn(part, caught.exception.body["error"]["message"])
        with self.assertRaises(anthropic.NotFoundError):
            self.ask(model="other")
        status, _, body = self.server.post("/v1/messages", {"messages": QUESTION})
        self.assertEqual((status, body["error"]["type"]), (400, "invalid_request_error"))


if __name__ == "__main__":
    server.main()
