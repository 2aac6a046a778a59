"""Conversations with three tools by the unmodified openai and anthropic clients, streamed and whole: every call has arguments
of its schema, every result is taken, and the four ways of asking have the same conversation. The third argument is the number
of conversations."""
import json
import random
import sys

import server

server.need_model()
server.need_clients()
import anthropic  # noqa: E402
import jsonschema  # noqa: E402

COUNT = int(sys.argv[3]) if len(sys.argv) > 3 else 4
CITIES = ["Paris", "Oslo", "Lima", "Cairo", "Rome", "Delhi", "Bern", "Kyoto"]


def tool(about, **properties):
    return about, {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


NUMBER = {"type": "integer", "minimum": -999, "maximum": 999}
TOOLS = {"get_weather": tool("The weather of a city", city={"type": "string", "maxLength": 20}, unit={"enum": ["C", "F"]}),
         "add": tool("The sum of two numbers", a=NUMBER, b=NUMBER), "now": tool("The time")}


def result_of(name, arguments):
    if name == "add":
        return str(arguments["a"] + arguments["b"])
    return f"21 {arguments['unit']}, sun in {arguments['city']}" if name == "get_weather" else "12:30"


def compact(arguments):
    """As the server writes an input of Anthropic's shape into the prompt; OpenAI's clients may send any spaces."""
    return json.dumps(arguments, separators=(",", ":"))


class OpenAI:
    """One way of asking: a round is a request and what it answers, [(id, name, arguments)] and a text."""
    tools = [{"type": "function", "function": {"name": n, "description": a, "parameters": p}} for n, (a, p) in TOOLS.items()]

    def __init__(self, client, streams):
        self.client, self.streams = client, streams

    def round(self, messages, choice, limit):
        if choice in TOOLS:
            choice = {"type": "function", "function": {"name": choice}}
        options = {"model": "smol", "messages": messages, "tools": self.tools, "tool_choice": choice, "max_tokens": limit, "temperature": 0,
                   "parallel_tool_calls": False}
        calls, text, reason = (self.read_stream if self.streams else self.read)(options)
        calls = [(i, name, json.loads(arguments)) for i, name, arguments in calls]
        message = {"role": "assistant", "content": text or None}
        if calls:
            message["tool_calls"] = [{"id": i, "type": "function", "function": {"name": n, "arguments": compact(a)}} for i, n, a in calls]
        messages.append(message)
        return calls, text, {"tool_calls": "call", "length": "cut", "stop": "end"}[reason]

    def read(self, options):
        got = self.client.chat.completions.create(**options).choices[0]
        return [(c.id, c.function.name, c.function.arguments) for c in got.message.tool_calls or []], got.message.content or "", got.finish_reason

    def read_stream(self, options):
        """By hand: the client's own accumulator takes a text that was cut for an error where there are tools."""
        calls, text, reason = [], "", None
        for chunk in self.client.chat.completions.create(stream=True, **options):
            for choice in chunk.choices:
                text, reason = text + (choice.delta.content or ""), choice.finish_reason or reason
                for c in choice.delta.tool_calls or []:
                    if c.index == len(calls):
                        calls.append([c.id, c.function.name, ""])
                    calls[c.index][2] += c.function.arguments or ""
        return calls, text, reason

    def answer(self, messages, results):
        messages += [{"role": "tool", "tool_call_id": i, "content": text} for i, text in results]


class Anthropic:
    tools = [{"name": n, "description": a, "input_schema": p} for n, (a, p) in TOOLS.items()]

    def __init__(self, client, streams):
        self.client, self.streams = client, streams

    def round(self, messages, choice, limit):
        choice = {"type": "tool", "name": choice} if choice in TOOLS else {"type": {"required": "any"}.get(choice, choice)}
        if choice["type"] != "none":
            choice["disable_parallel_tool_use"] = True
        options = {"model": "smol", "messages": messages, "tools": self.tools, "tool_choice": choice, "max_tokens": limit,
                   "extra_body": {"temperature": 0}}
        if self.streams:
            with self.client.messages.stream(**options) as stream:
                got = stream.get_final_message()
        else:
            got = self.client.messages.create(**options)
        messages.append({"role": "assistant", "content": got.content})
        calls = [(b.id, b.name, b.input) for b in got.content if b.type == "tool_use"]
        text = "".join(b.text for b in got.content if b.type == "text")
        return calls, text, {"tool_use": "call", "max_tokens": "cut", "end_turn": "end"}[got.stop_reason]

    def answer(self, messages, results):
        messages.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": i, "content": text} for i, text in results]})


class Conversations(server.WithOpenAI):
    flags = ("--served-name", "smol", "-c", "2048", "--activations", "f32")

    def converse(self, way, seed):
        """What was said, without the ids of calls, which are new each time."""
        draw = random.Random(seed)
        city, other = draw.sample(CITIES, 2)
        question = draw.choice([f"What is the weather in {city}, in {draw.choice('CF')}?", f"What is {draw.randint(-99, 99)} plus {draw.randint(0, 99)}?",
                                "How late is it?", f"Is it warmer in {city} or in {other}?"])
        choices = [draw.choice(["required", *TOOLS]), draw.choice(["auto", "auto", "required"]), "none"]
        messages, said, seen = [{"role": "user", "content": question}], [question], set()
        for choice in choices:
            calls, text, end = way.round(messages, choice, 16 if choice == "none" else 70)
            said.append((choice, [c[1:] for c in calls], text, end))
            self.assertEqual(end == "call", bool(calls), said)
            if choice != "auto":
                self.assertEqual(bool(calls), choice != "none" and end != "cut", said)
            if choice in TOOLS and calls:
                self.assertEqual([c[1] for c in calls], [choice])
            for i, name, arguments in calls:
                jsonschema.validate(arguments, TOOLS[name][1])
                self.assertNotIn(i, seen)
                seen.add(i)
            if calls:
                way.answer(messages, [(i, result_of(n, a)) for i, n, a in calls])
            else:
                messages.append({"role": "user", "content": "Go on."})
        return said

    def test_all_ways_have_the_same_conversation(self):
        claude = anthropic.Anthropic(base_url=self.server.url, api_key="none", max_retries=0)
        ways = [kind(client, streams) for kind, client in ((OpenAI, self.client), (Anthropic, claude)) for streams in (False, True)]
        n_calls = 0
        for seed in range((COUNT + 3) // 4):
            said = [self.converse(way, seed) for way in ways]
            n_calls += sum(len(part[1]) for one in said for part in one[1:])
            for other in said[1:]:
                self.assertEqual(other, said[0])
        claude.close()
        print(f"{COUNT} conversations, {n_calls} calls")
        self.assertGreater(n_calls, COUNT // 2)


if __name__ == "__main__":
    del sys.argv[3:]
    server.main()
