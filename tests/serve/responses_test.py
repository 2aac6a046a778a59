"""The unmodified openai client against /v1/responses: texts, items, streams, functions, forms, errors."""
import json
import unittest

import server

server.need_model()
server.need_clients()
import openai  # noqa: E402

QUESTION = "What is the capital of France?"


def tool(name, **properties):
    return {"type": "function", "name": name, "description": f"Does {name}", "strict": True, "parameters": {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}}


TOOLS = [tool("get_weather", city={"type": "string", "maxLength": 20}, unit={"enum": ["C", "F"]}),
         tool("add", a={"type": "integer", "maximum": 999}, b={"type": "integer", "maximum": 999}), tool("now")]


class Responses(server.WithOpenAI):
    flags = ("--served-name", "smol", "-c", "2048")

    def ask(self, **options):
        return self.client.responses.create(**{"model": "smol", "input": QUESTION, "max_output_tokens": 24, "temperature": 0, **options})

    def test_text(self):
        answer = self.ask()
        self.assertTrue(answer.id.startswith("resp-"))
        self.assertEqual((answer.object, answer.model, answer.error), ("response", "smol", None))
        self.assertEqual([item.type for item in answer.output], ["message"])
        self.assertIn("Paris", answer.output_text)
        chat = self.server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 24,
                                                         "temperature": 0})[2]
        self.assertEqual(answer.output_text, chat["choices"][0]["message"]["content"])
        self.assertEqual((answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens),
                         tuple(chat["usage"][k] for k in ("prompt_tokens", "completion_tokens", "total_tokens")))
        cut = self.ask(max_output_tokens=3)
        self.assertEqual((cut.status, cut.incomplete_details.reason), ("incomplete", "max_output_tokens"))

    def test_items(self):
        parts = [{"role": "developer", "content": "Be brief."},
                 {"type": "message", "role": "user", "content": [{"type": "input_text", "text": QUESTION}]}]
        self.assertEqual(self.ask(input=parts).output_text, self.ask(instructions="Be brief.").output_text)
        first = self.ask()
        more = [{"role": "user", "content": QUESTION}, *first.output, {"role": "user", "content": "And of Italy?"}]
        self.assertGreater(self.ask(input=more).usage.input_tokens, first.usage.total_tokens)

    def test_stream(self):
        whole = self.ask()
        events = list(self.ask(stream=True))
        self.assertEqual([e.sequence_number for e in events], list(range(len(events))))
        types = [e.type for e in events]
        self.assertEqual(types[:4], ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"])
        self.assertEqual(types[-4:-1], ["response.output_text.done", "response.content_part.done", "response.output_item.done"])
        self.assertIn(types[-1], ("response.completed", "response.incomplete"))
        self.assertEqual("".join(e.delta for e in events if e.type == "response.output_text.delta"), whole.output_text)
        final = events[-1].response
        self.assertEqual((final.output_text, final.status, final.usage.total_tokens),
                         (whole.output_text, whole.status, whole.usage.total_tokens))
        with self.client.responses.stream(model="smol", input=QUESTION, max_output_tokens=24, temperature=0) as stream:
            seen = [e.type for e in stream]
        self.assertIn("response.output_text.delta", seen)

    def test_functions_round_trip(self):
        choice = {"type": "function", "name": "get_weather"}
        asked = [{"role": "user", "content": "What is the weather in Paris, in C?"}]
        first = self.ask(input=asked, tools=TOOLS, tool_choice=choice, max_output_tokens=100)
        (call,) = first.output
        self.assertEqual((call.type, call.name, set(json.loads(call.arguments))), ("function_call", "get_weather", {"city", "unit"}))
        events = list(self.ask(input=asked, tools=TOOLS, tool_choice=choice, max_output_tokens=100, stream=True))
        self.assertEqual([e.type for e in events[2:-1]], ["response.output_item.added", "response.function_call_arguments.delta",
                                                         "response.function_call_arguments.done", "response.output_item.done"])
        (streamed,) = events[-1].response.output
        self.assertEqual((streamed.name, streamed.arguments), (call.name, call.arguments))
        asked += [*first.output, {"type": "function_call_output", "call_id": call.call_id, "output": "21 degrees, sun"}]
        last = self.ask(input=asked, tools=TOOLS, tool_choice="none")
        self.assertEqual([item.type for item in last.output], ["message"])
        any_call = self.ask(input=asked, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, max_output_tokens=160)
        if any_call.status == "completed":
            self.assertEqual([item.type for item in any_call.output], ["function_call"])

    def test_form(self):
        schema = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}, "people": {"type": "integer", "maximum": 99}},
                  "required": ["city", "people"], "additionalProperties": False}
        answer = self.ask(text={"format": {"type": "json_schema", "name": "c", "schema": schema, "strict": True}}, max_output_tokens=80)
        self.assertEqual(set(json.loads(answer.output_text)), {"city", "people"})

    def test_errors(self):
        for part, options in (("input", {"input": []}), ("input", {"input": [{"type": "item_reference", "id": "x"}]}),
                              ("instructions", {"extra_body": {"instructions": 5}}), ("previous_response_id", {"previous_response_id": "resp-1"}),
                              ("tools", {"tools": [{"type": "web_search"}]}), ("tool_choice", {"tool_choice": "required"}),
                              ("temperature", {"extra_body": {"temperature": "hot"}}), ("parts with text", {"input": [
                                  {"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}),
                              ("function_call", {"input": [{"type": "function_call", "call_id": "c"}]})):
            with self.assertRaises(openai.BadRequestError) as caught:
                self.ask(**options)
            self.assertIn(part, caught.exception.body["message"])
        with self.assertRaises(openai.NotFoundError):
            self.ask(model="other")


if __name__ == "__main__":
    server.main()
