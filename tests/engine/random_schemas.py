"""Random JSON Schemas of the kinds that JSONSchemaBench has. The same seed makes the same schema."""
import random

WORDS = ["id", "name", "kind", "items", "values", "a b", "größe", "x-y", "$ref", "url", "created_at", "tags", "size", "quote\"d",
         "path/to", "data", "owner", "count", "left", "right", "meta", "enabled", "price", "unit", "note"]
PATTERNS = ["^[a-z]{2,8}$", "^[A-Z][a-z]+( [A-Z][a-z]+)*$", "\\d{3}", "^\\d{4}-\\d{2}$", "^(foo|bar|baz)+$", "^#[0-9a-fA-F]{6}$",
            "[aeiou]", "^a.*z$", "^\\w+@\\w+\\.com$", "^[^\\s]{1,5}$", "^(?:[01]\\d|2[0-3]):[0-5]\\d$", "^\\$\\{[a-z]+\\}$"]
FORMATS = ["date", "time", "date-time", "uuid", "email", "ipv4", "ipv6", "hostname", "uri", "duration", "unknown"]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.names = []

    def maybe(self, p):
        return self.random.random() < p

    def value(self):
        r = self.random
        return r.choice([None, True, False, r.randint(-5, 500), r.choice([0.5, -2.25, 1e3]), r.choice(WORDS), "two\nlines", [1, "a"],
                         {"k": "v"}])

    def string(self):
        r, s = self.random, {"type": "string"}
        kind = r.random()
        if kind < 0.25:
            s["minLength"] = r.randint(0, 5)
            if self.maybe(0.7):
                s["maxLength"] = s["minLength"] + r.choice([0, 3, 20, 200, 5000])
        elif kind < 0.45:
            s["pattern"] = r.choice(PATTERNS)
            if self.maybe(0.3):
                s["maxLength"] = r.randint(8, 40)
        elif kind < 0.6:
            s["format"] = r.choice(FORMATS)
        return s

    def number(self):
        r = self.random
        s = {"type": r.choice(["integer", "number"])}
        if self.maybe(0.5):
            low = r.choice([0, 1, -1, -20, 17, 0.5, -2.5, 1000])
            s[r.choice(["minimum", "exclusiveMinimum"])] = low
            if self.maybe(0.6):
                s[r.choice(["maximum", "exclusiveMaximum"])] = low + r.choice([1.5, 2, 10, 99, 12345])
        elif self.maybe(0.3):
            s[r.choice(["maximum", "exclusiveMaximum"])] = r.choice([0, 100, -3, 65535])
        elif self.maybe(0.3):
            s["multipleOf"] = r.choice([1, 5, 7, 100])
        return s

    def array(self, depth):
        r, s = self.random, {"type": "array"}
        if self.maybe(0.85):
            s["items"] = self.schema(depth + 1)
        if self.maybe(0.4):
            s["minItems"] = r.randint(0, 3)
        if self.maybe(0.4):
            s["maxItems"] = s.get("minItems", 0) + r.choice([0, 1, 4, 300])
        if self.maybe(0.15):
            s["prefixItems"] = [self.schema(depth + 1) for _ in range(r.randint(1, 3))]
        return s

    def object(self, depth):
        r, s = self.random, {"type": "object"}
        names = r.sample(WORDS, r.randint(0, 6 if depth else 10))
        if names or self.maybe(0.5):
            s["properties"] = {n: self.schema(depth + 1) for n in names}
        if names and self.maybe(0.8):
            s["required"] = r.sample(names, r.randint(1, len(names)))
        if self.maybe(0.3):
            s["additionalProperties"] = r.choice([False, True, {"type": "integer"}, {"type": "string", "maxLength": 4}])
        if self.maybe(0.15):
            s["patternProperties"] = {"^x-[a-z]{1,6}$": {"type": "boolean"}}
            if self.maybe(0.5):
                s["patternProperties"]["^\\d+$"] = self.schema(depth + 1)
        if self.maybe(0.1):
            s["minProperties"] = len(s.get("required", [])) + r.choice([0, 1])
        if self.maybe(0.1):
            s["maxProperties"] = len(s.get("required", [])) + r.choice([0, 1, 2])
        if s.get("minProperties", 0) > max(1, len(s.get("required", []))):
            del s["minProperties"]  # refused where names are free, and none are left where they are not
        return s

    def one_of(self, depth):
        tags = self.random.sample(["circle", "square", "line", "dot"], self.random.randint(2, 4))
        return {"oneOf": [{"type": "object", "properties": {"type": {"const": t}, "value": self.schema(depth + 1)},
                           "required": ["type"]} for t in tags]}

    def all_of(self, depth):
        part = self.object(depth + 1)
        part.pop("patternProperties", None)
        return {"allOf": [part, {"type": "object", "properties": {"extra": {"type": "boolean"}}, "required": ["extra"]}]}

    def schema(self, depth=0):
        r = self.random
        if depth > 3:
            return r.choice([self.string, self.number, lambda: {"type": "boolean"}, lambda: {"type": ["null", "integer"]}])()
        kind = r.random()
        if depth == 0 and kind < 0.8:
            return self.object(0)
        if kind < 0.22:
            return self.string()
        if kind < 0.40:
            return self.number()
        if kind < 0.55:
            return self.array(depth)
        if kind < 0.70:
            return self.object(depth)
        if kind < 0.78:
            return {"enum": [self.value() for _ in range(r.randint(1, 6))]}
        if kind < 0.81:
            return {"const": self.value()}
        if kind < 0.87:
            return {"anyOf": [self.schema(depth + 1) for _ in range(r.randint(1, 3))], "description": "any"}
        if kind < 0.91:
            return self.one_of(depth)
        if kind < 0.94:
            return self.all_of(depth)
        if kind < 0.97 and self.names:
            return {"$ref": "#/$defs/" + r.choice(self.names), "title": "a reference"}
        return r.choice([{}, True, {"type": ["string", "null"]}, {"type": "boolean"}])

    def root(self):
        self.names = self.random.sample(["node", "leaf", "pair"], self.random.randint(0, 3))
        s = self.schema()
        if s is True:
            s = {}
        defs = {}
        for name in self.names:
            other = "#/$defs/" + self.random.choice(self.names)
            defs[name] = {"type": "object", "properties": {"value": self.schema(3), "children": {"type": "array", "items": {"$ref": other}},
                                                           "next": {"anyOf": [{"type": "null"}, {"$ref": other}]}}, "required": ["value"],
                          "additionalProperties": False}
        return dict(s, **{"$defs": defs}) if defs else s
