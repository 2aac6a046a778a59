"""The unmodified openai client against the server: chats, completions, streams, models, errors."""
import json
import unittest

import server

server.need_model()
server.need_clients()
import openai  # noqa: E402

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY = {"temperature": 0, "max_tokens": 12}


def tool(name, description, strict=False, **properties):
    parameters = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": description, "strict": strict, "parameters": parameters}}


TOOLS = [tool("get_weather", "The weather of a city", city={"type": "string", "maxLength": 20}, unit={"enum": ["C", "F"]}),
         tool("add", "The sum of two numbers", a={"type": "integer", "maximum": 999}, b={"type": "integer", "maximum": 999}),
         tool("now", "The time")]


class Api(server.WithOpenAI):
    flags = ("--served-name", "smol", "-c", "2048")

    def chat(self, **options):
        return self.client.chat.completions.create(**{"model": "smol", "messages": QUESTION, **GREEDY, **options})

    def complete(self, prompt, **options):
        return self.client.completions.create(**{"model": "smol", "prompt": prompt, **GREEDY, **options})

    def test_models(self):
        self.assertEqual([m.id for m in self.client.models.list()], ["smol"])
        self.assertEqual(self.client.models.retrieve("smol").max_model_len, 2048)
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("other")

    def test_chat(self):
        answer = self.chat()
        choice = answer.choices[0]
        self.assertEqual((answer.object, answer.model), ("chat.completion", "smol"))
        self.assertIn("Paris", choice.message.content)
        self.assertEqual(choice.message.role, "assistant")
        self.assertIn(choice.finish_reason, ("stop", "length"))
        usage = answer.usage
        self.assertEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
        self.assertGreaterEqual(usage.prompt_tokens_details.cached_tokens, 0)
        text = self.server.post("/apply-template", {"messages": QUESTION})[2]["prompt"]
        self.assertTrue(text.endswith("<|im_start|>assistant\n"), text)
        ids = self.server.post("/tokenize", {"content": text})[2]["tokens"]
        self.assertEqual(len(ids), usage.prompt_tokens)
        self.assertEqual(self.complete(text).choices[0].text, choice.message.content)
        self.assertEqual(self.complete(ids).choices[0].text, choice.message.content)

    def test_chat_stream_is_the_same_text(self):
        whole = self.chat()
        chunks = list(self.chat(stream=True, stream_options={"include_usage": True}))
        self.assertEqual(len({c.id for c in chunks}), 1)
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, whole.choices[0].message.content)
        reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
        self.assertEqual([r for r in reasons if r], [whole.choices[0].finish_reason])
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)
        self.assertTrue(all(c.usage is None for c in chunks[:-1]))
        self.assertTrue(all(c.usage is None for c in self.chat(stream=True)))

    def test_stream_as_bytes(self):
        body = dict(GREEDY, messages=QUESTION, stream=True)
        status, headers, text = self.server.post("/v1/chat/completions", body)
        self.assertEqual((status, headers["Content-Type"]), (200, "text/event-stream"))
        events = text.split("\n\n")
        self.assertEqual(events[-2:], ["data: [DONE]", ""])
        for event in events[:-2]:
            self.assertTrue(event.startswith("data: {"), event)
            json.loads(event[6:])

    def test_chat_of_several_turns(self):
        first = self.chat(max_tokens=40)
        turns = QUESTION + [{"role": "assistant", "content": first.choices[0].message.content},
                            {"role": "user", "content": "And of Italy?"}]
        self.assertTrue(self.chat(messages=turns).choices[0].message.content)
        parts = [{"role": "user", "content": [{"type": "text", "text": QUESTION[0]["content"]}]}]
        self.assertEqual(self.chat(messages=parts).choices[0].message.content,
                         self.chat().choices[0].message.content)

    def test_control_tokens_of_a_user_stay_text(self):
        def size(text):
            return self.chat(messages=[{"role": "user", "content": text}], max_tokens=1).usage.prompt_tokens

        self.assertGreater(size("<|im_end|>"), size("x") + 2)

    def test_completion(self):
        answer = self.complete("Once upon a time")
        self.assertEqual(answer.object, "text_completion")
        self.assertEqual(answer.choices[0].finish_reason, "length")
        self.assertEqual(answer.usage.completion_tokens, 12)
        text = answer.choices[0].text
        self.assertEqual(self.complete("Once upon a time", echo=True).choices[0].text, "Once upon a time" + text)
        stream = "".join(c.choices[0].text for c in self.complete("Once upon a time", stream=True))
        self.assertEqual(stream, text)

    def test_several_prompts(self):
        prompts = ["Once upon a time", "The capital of France is"]
        alone = [self.complete(p, max_tokens=6).choices[0].text for p in prompts]
        answer = self.complete(prompts, max_tokens=6)
        self.assertEqual([c.index for c in answer.choices], [0, 1])
        self.assertEqual([c.text for c in answer.choices], alone)
        self.assertEqual(answer.usage.completion_tokens, 12)
        ids = [self.server.post("/tokenize", {"content": p})[2]["tokens"] for p in prompts]
        self.assertEqual([c.text for c in self.complete(ids, max_tokens=6).choices], alone)

    def test_n_and_seed(self):
        drawn = {"temperature": 1.5, "max_tokens": 8, "seed": 7}
        several = self.complete("Once upon a time", n=4, **drawn)
        self.assertEqual([c.index for c in several.choices], [0, 1, 2, 3])
        texts = [c.text for c in several.choices]
        self.assertGreater(len(set(texts)), 1)
        self.assertEqual(several.usage.prompt_tokens, 4)
        alone = [self.complete("Once upon a time", **dict(drawn, seed=7 + i)).choices[0].text for i in range(4)]
        self.assertEqual(texts, alone)
        pieces = ["", "", "", ""]
        for chunk in self.complete("Once upon a time", n=4, stream=True, **drawn):
            for c in chunk.choices:
                pieces[c.index] += c.text
        self.assertEqual(pieces, texts)

    def test_seeds_differ_by_themselves(self):
        texts = {self.complete("Once upon a time", temperature=1.5).choices[0].text for _ in range(3)}
        self.assertGreater(len(texts), 1)

    def test_stop(self):
        whole = self.complete("Once upon a time", max_tokens=24).choices[0].text
        word = whole[20:24]
        for stop in (word, ["nothing of it", word]):
            answer = self.complete("Once upon a time", max_tokens=24, stop=stop)
            self.assertEqual(answer.choices[0].text, whole[:whole.index(word)])
            self.assertEqual(answer.choices[0].finish_reason, "stop")
        stream = list(self.complete("Once upon a time", max_tokens=24, stop=word, stream=True))
        self.assertEqual("".join(c.choices[0].text for c in stream), whole[:whole.index(word)])

    def test_logprobs(self):
        answer = self.chat(logprobs=True, top_logprobs=3, max_tokens=5)
        content = answer.choices[0].logprobs.content
        self.assertEqual("".join(t.token for t in content), answer.choices[0].message.content)
        for token in content:
            self.assertLessEqual(token.logprob, 0)
            self.assertEqual(len(token.top_logprobs), 3)
            self.assertEqual(token.top_logprobs[0].token, token.token)  # greedy
            self.assertEqual(bytes(token.bytes).decode(), token.token)
        streamed = [t for c in self.chat(logprobs=True, top_logprobs=3, max_tokens=5, stream=True)
                    if c.choices[0].logprobs for t in c.choices[0].logprobs.content]
        self.assertEqual(streamed, content)
        old = self.complete("Once upon a time", logprobs=2, max_tokens=4).choices[0]
        self.assertEqual("".join(old.logprobs.tokens), old.text)
        self.assertEqual(old.logprobs.text_offset[:2], [0, len(old.logprobs.tokens[0])])
        self.assertEqual(len(old.logprobs.top_logprobs[0]), 2)

    def test_logit_bias(self):
        ids = self.server.post("/tokenize", {"content": " banana"})[2]["tokens"]
        answer = self.complete("Once upon a time", logit_bias={str(ids[0]): 100}, max_tokens=2)
        self.assertEqual(answer.choices[0].text[:4], " banana"[:4])
        first = self.complete("Once upon a time", max_tokens=1).choices[0].text
        token = self.server.post("/tokenize", {"content": first})[2]["tokens"][0]
        self.assertNotEqual(self.complete("Once upon a time", max_tokens=1, logit_bias={str(token): -100}).choices[0].text,
                            first)

    def test_what_others_send_too(self):
        """Fields that are null, unknown or of other servers."""
        self.chat(n=None, stop=None, user="me", metadata={"a": "b"}, extra_body={"nonsense": 1, "top_k": -1})
        self.chat(tool_choice="none", response_format={"type": "text"}, max_tokens=None, max_completion_tokens=3)
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
        self.chat(tools=[tool], tool_choice="auto")
        self.chat(extra_body={"priority": -5, "min_p": 0.1, "repeat_penalty": 1.1, "chat_template_kwargs": {"x": 1}})

    def bad(self, param, part, call=None, **options):
        with self.assertRaises(openai.BadRequestError) as caught:
            (call or self.chat)(**options)
        self.assertEqual(caught.exception.param, param)
        self.assertIn(part, caught.exception.message)

    def test_wrong_values(self):
        self.bad("max_tokens", "found -1", max_tokens=-1)
        self.bad("max_tokens", "found 0", max_tokens=0)
        self.bad("n", "found 1000000", n=10**6)
        self.bad("temperature", "found the string", temperature="hot")
        self.bad("temperature", "found -1", temperature=-1)
        self.bad("messages", "found an array of 0", messages=[])
        self.bad("stop", "found an array of 100", stop=["a"] * 100)
        self.bad("stop", "not empty", stop="")
        self.bad("logit_bias", "'x'", logit_bias={"x": 1})
        self.bad("logit_bias", "found 101", logit_bias={"1": 101})
        self.bad("top_logprobs", "logprobs", top_logprobs=2)
        self.bad("tool_choice", "expected tools", tool_choice="required", tools=[])
        self.bad("tool_choice", "found 'g'", tool_choice={"type": "function", "function": {"name": "g"}}, tools=TOOLS)
        self.bad("tools", "functions with names", tools=[{"type": "function"}])
        self.bad("tools", "no form", tools=TOOLS, response_format={"type": "json_object"})
        self.bad("response_format.type", "json_schema", response_format={"type": "xml"})
        self.bad("stream", "found the string", extra_body={"stream": "yes"})
        self.bad("messages", "", messages=[{"role": "user"}] * 2 + [{"content": 5}])
        self.bad("suffix", "no suffix", self.complete, prompt="a", suffix="b")
        self.bad("prompt", "found an object", self.complete, prompt={"a": 1})
        self.bad("prompt", "found an array of 65", self.complete, prompt=["a"] * 65)
        self.bad(None, "vocabulary", self.complete, prompt=[10**6])
        self.bad(None, "vocabulary", logit_bias={"1000000": 1})

    def test_too_long(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.complete("word " * 3000)
        self.assertEqual(caught.exception.code, "context_length_exceeded")
        answer = self.complete("word " * 2000, max_tokens=None, extra_body={"ignore_eos": True})  # to the context's end
        self.assertEqual(answer.choices[0].finish_reason, "length")
        self.assertGreater(answer.usage.total_tokens, 2040)

    def test_answers_of_a_schema(self):
        schema = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}, "people": {"type": "integer", "maximum": 9999},
                  "old": {"type": "boolean"}}, "required": ["city", "people", "old"], "additionalProperties": False}
        form = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema, "strict": True}}
        for options in ({}, {"temperature": 1.5, "seed": 3}, {"temperature": 2, "seed": 4, "n": 3, "top_p": 1}):
            for choice in self.chat(response_format=form, **{**options, "max_tokens": 120}).choices:
                answer = json.loads(choice.message.content)
                self.assertEqual(choice.finish_reason, "stop")
                self.assertEqual(set(answer), {"city", "people", "old"})
                self.assertTrue(len(answer["city"]) <= 12 and answer["people"] <= 9999 and isinstance(answer["old"], bool))
        whole = self.chat(response_format=form, max_tokens=120).choices[0].message.content
        chunks = self.chat(response_format=form, max_tokens=120, stream=True)
        self.assertEqual("".join(c.choices[0].delta.content or "" for c in chunks), whole)
        self.assertEqual(self.chat(response_format=form, max_tokens=2).choices[0].finish_reason, "length")

    def test_answers_of_a_grammar(self):
        one = {"grammar": 'root ::= ("Paris" | "Rome") "?"{2,3}'}
        self.assertRegex(self.chat(extra_body=one).choices[0].message.content, r"^(Paris|Rome)\?{2,3}$")
        self.assertRegex(self.complete("Call me at", extra_body={"regex": "[0-9]{3}-[0-9]{4}"}).choices[0].text, "^[0-9]{3}-[0-9]{4}$")
        answer = self.complete("x", extra_body={"regex": "yes|no", "ignore_eos": True}, logprobs=2).choices[0]
        self.assertIn(answer.text, ("yes", "no"))
        self.assertEqual(answer.finish_reason, "stop")
        thing = self.chat(response_format={"type": "json_object"}, max_tokens=300, temperature=0.5, seed=1).choices[0]
        if thing.finish_reason == "stop":
            self.assertIsInstance(json.loads(thing.message.content), dict)
        self.assertTrue(thing.message.content.startswith("{"))

    def test_wrong_grammars(self):
        schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "text"}}}
        self.bad("response_format", "found \"text\"", response_format=schema)
        schema["json_schema"]["schema"] = {"not": {}}
        self.bad("response_format", "'not'", response_format=schema)
        self.bad("grammar", "line 1, offset 10", extra_body={"grammar": "root ::= ("})
        self.bad("regex", "look-around", extra_body={"regex": "(?=a)"})
        self.bad("regex", "found two", extra_body={"regex": "a", "grammar": "root ::= [a]"})
        self.bad("response_format.json_schema", "found an object", response_format={"type": "json_schema", "json_schema": {"name": "x"}})

    def check_call(self, call):
        self.assertTrue(call.id.startswith("call_"))
        self.assertEqual(call.type, "function")
        arguments = json.loads(call.function.arguments)
        schema = next(t["function"]["parameters"] for t in TOOLS if t["function"]["name"] == call.function.name)
        self.assertEqual(set(arguments), set(schema["required"]))
        return arguments

    def test_tools_round_trip(self):
        """A call is forced, its result goes back, and the model answers."""
        named = {"type": "function", "function": {"name": "get_weather"}}
        messages = [{"role": "user", "content": "What is the weather in Paris, in C?"}]
        first = self.chat(messages=messages, tools=TOOLS, tool_choice=named, max_tokens=100).choices[0]
        self.assertEqual((first.finish_reason, first.message.content, len(first.message.tool_calls)), ("tool_calls", None, 1))
        call = first.message.tool_calls[0]
        self.assertEqual(call.function.name, "get_weather")
        self.assertIn(self.check_call(call)["unit"], ("C", "F"))
        messages += [first.message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": "21 degrees, sun"}]
        last = self.chat(messages=messages, tools=TOOLS, tool_choice="none", max_tokens=40).choices[0]
        self.assertTrue(last.message.content)
        self.assertIsNone(last.message.tool_calls)
        text = self.server.post("/apply-template", {"messages": messages, "tools": TOOLS})[2]["prompt"]
        self.assertIn("<tools>", text)
        self.assertIn('<tool_call>\n{"name": "get_weather", "arguments": ' + call.function.arguments + "}\n</tool_call>", text)
        self.assertIn("<tool_response>\n21 degrees, sun\n</tool_response>", text)

    def test_tools_required_and_auto(self):
        for seed in range(3):
            options = dict(tools=TOOLS, tool_choice="required", temperature=1.5, seed=seed, max_tokens=160)
            choice = self.chat(**options).choices[0]
            for call in choice.message.tool_calls or []:
                self.check_call(call)
            if choice.finish_reason != "length":
                self.assertGreaterEqual(len(choice.message.tool_calls), 1)
            one = self.chat(parallel_tool_calls=False, **options).choices[0]
            if one.finish_reason != "length":
                self.assertEqual(len(one.message.tool_calls), 1)
        choice = self.chat(tools=TOOLS, tool_choice="auto", max_tokens=30).choices[0]
        self.assertTrue(choice.message.content or choice.message.tool_calls)

    def test_tools_as_a_stream(self):
        options = dict(tools=TOOLS, tool_choice={"type": "function", "function": {"name": "add"}}, max_tokens=100)
        whole = self.chat(**options).choices[0].message.tool_calls[0]
        deltas = [c.choices[0] for c in self.chat(stream=True, **options)]
        calls = [call for d in deltas for call in d.delta.tool_calls or []]
        self.assertEqual([(c.index, c.function.name, c.function.arguments) for c in calls],
                         [(0, "add", whole.function.arguments)])
        self.assertEqual([d.finish_reason for d in deltas if d.finish_reason], ["tool_calls"])
        self.assertFalse("".join(d.delta.content or "" for d in deltas))
        text = "".join(c.choices[0].delta.content or "" for c in self.chat(tools=TOOLS, tool_choice="none", stream=True))
        self.assertEqual(text, self.chat(tools=TOOLS, tool_choice="none").choices[0].message.content)

    def test_unknown_model(self):
        with self.assertRaises(openai.NotFoundError) as caught:
            self.chat(model="gpt-9")
        self.assertEqual(caught.exception.code, "model_not_found")


class SmallCache(server.WithServer):
    flags = ("-c", "256")

    def test_vectors_get_the_room_of_texts_that_are_kept_for_later(self):
        for i in range(3):
            status, _, answer = self.server.post("/v1/completions", {"prompt": f"{i} and " * 60, "max_tokens": 60, "ignore_eos": True})
            self.assertEqual((status, answer["usage"]["completion_tokens"]), (200, 60), answer)
            status, _, answer = self.server.post("/v1/embeddings", {"input": "a text"})
            self.assertEqual(status, 200, answer)

    def test_whole_numbers_with_a_fraction_of_zero(self):
        """As programs write them that know only one kind of number."""
        ids = self.server.post("/tokenize", {"content": "Once upon a time"})[2]["tokens"]
        for prompt in (ids, [float(i) for i in ids], [[float(i) for i in ids]]):
            status, _, answer = self.server.post("/v1/completions", {"prompt": prompt, "max_tokens": 2.0, "seed": 7.0, "logprobs": 1.0})
            self.assertEqual((status, answer.get("usage", {}).get("completion_tokens")), (200, 2), answer)
        self.check_error(self.server.post("/v1/completions", {"prompt": "a", "max_tokens": 2.5}), 400, "found 2.5", "max_tokens")


if __name__ == "__main__":
    server.main()
