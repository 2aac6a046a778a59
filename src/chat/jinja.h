/* jinja.h - the values, the syntax tree and the run of a template, for the files of the interpreter. template.h is
 * what the rest of the layer uses.
 *
 * Everything lives in the arena of a run and is freed with it. A failure writes its line and jumps back to the
 * function that began the run (evn_j_fail). So no function of the interpreter may own anything outside the arena.
 *
 * Lists and dicts do not change once they are made, as in the sandbox that is the reference. */
#ifndef EVN_JINJA_H
#define EVN_JINJA_H

#include "base/base.h"

#include <setjmp.h>
#include <time.h>

#define EVN_J_MAX_TEMPLATE (1u << 20) /* bytes */
#define EVN_J_MAX_TEXT (8u << 20)     /* bytes of the output and of each string */
#define EVN_J_MAX_MEMORY (192u << 20) /* bytes of the arena */
#define EVN_J_MAX_STEPS 20000000u     /* nodes, list entries, and 16 bytes of a text each cost one */
#define EVN_J_MAX_DEPTH 1000          /* of evaluation: nested expressions, blocks and macros */
#define EVN_J_MAX_NESTING 100         /* of brackets and blocks in a template, and of values */
#define EVN_J_MAX_RANGE 100000        /* of range(), as in Jinja2's sandbox */

typedef struct jrun jrun;
typedef struct jnode jnode;
typedef struct jscope jscope;

/* ---- values -------------------------------------------------------------------------------------------------- */

/* UTF-8. foreign[i] = 1: byte i comes from the variables, not from the template. NULL: all of it is the template's.
 */
typedef struct {
	const char *bytes;
	const uint8_t *foreign;
	size_t n;
} jstring;

typedef enum {
	J_MISSING, /* an argument that was not given */
	J_UNDEFINED,
	J_NONE,
	J_BOOL,
	J_INT,
	J_FLOAT,
	J_STRING,
	J_LIST,
	J_DICT,
	J_NAMESPACE,
	J_LOOP,
	J_CALLABLE,
} jkind;

typedef struct jvalue jvalue;
typedef struct jlist jlist;
typedef struct jdict jdict;
typedef struct jloop jloop;
typedef struct jcallable jcallable;

struct jvalue {
	jkind kind;
	union {
		bool b;
		int64_t i;
		double f;
		const jstring *string; /* J_UNDEFINED: why, as Jinja2 says it */
		jlist *list;
		jdict *dict; /* J_NAMESPACE too */
		const jloop *loop;
		const jcallable *callable;
	};
};

struct jlist {
	jvalue *items;
	size_t n, capacity;
	bool tuple;
};

typedef struct {
	jvalue key, value;
} jpair;

/* In the order of insertion. Dicts of templates are small, so keys are searched one by one. */
struct jdict {
	jpair *pairs;
	size_t n, capacity;
};

struct jloop {
	const jlist *items;
	size_t index, depth;
};

/* The arguments of a call, a filter or a test. */
typedef struct {
	const jvalue *values;
	size_t n;
	const jpair *keywords;
	size_t n_keywords;
} jargs;

/* Functions, methods, filters and tests. self: the object of a method, the value of a filter or test. */
typedef jvalue (*jfunction)(jrun *r, jvalue self, const jargs *a);

typedef struct {
	const char *name; /* NULL ends a table */
	jfunction function;
} jentry;

struct jcallable {
	const char *name;
	jfunction function; /* NULL: a macro */
	jvalue self;
	const jnode *macro;
	jscope *scope; /* where the macro was defined */
};

static inline jvalue j_none(void) { return (jvalue){.kind = J_NONE}; }
static inline jvalue j_bool(bool b) { return (jvalue){.kind = J_BOOL, .b = b}; }
static inline jvalue j_int(int64_t i) { return (jvalue){.kind = J_INT, .i = i}; }
static inline jvalue j_float(double f) { return (jvalue){.kind = J_FLOAT, .f = f}; }
static inline jvalue j_string(const jstring *s) { return (jvalue){.kind = J_STRING, .string = s}; }
static inline jvalue j_list(jlist *l) { return (jvalue){.kind = J_LIST, .list = l}; }
static inline jvalue j_dict(jdict *d) { return (jvalue){.kind = J_DICT, .dict = d}; }
static inline bool j_is_whole(jvalue v) { return v.kind == J_INT || v.kind == J_BOOL; } /* a bool is an int */
static inline int64_t j_whole(jvalue v) { return v.kind == J_BOOL ? v.b : v.i; }
static inline bool j_is_number(jvalue v) { return j_is_whole(v) || v.kind == J_FLOAT; }
static inline double j_number(jvalue v) { return v.kind == J_FLOAT ? v.f : (double)j_whole(v); }

/* ---- syntax tree --------------------------------------------------------------------------------------------- */

typedef enum {
	/* expressions */
	N_CONST,   /* value */
	N_NAME,    /* name */
	N_ATTR,    /* a.name */
	N_ITEM,    /* a[b] */
	N_SLICE,   /* a[b:c:d]; each may be NULL */
	N_CALL,    /* a(list) */
	N_FILTER,  /* a|name(list) */
	N_TEST,    /* a is name(list) */
	N_KEYWORD, /* name=a, in the list of a call */
	N_NOT,     /* not a */
	N_SIGN,    /* op a */
	N_BINARY,  /* a op b */
	N_AND,     /* a and b */
	N_OR,      /* a or b */
	N_COMPARE, /* a, then each N_OPERAND of the list: op a */
	N_OPERAND,
	N_COND,  /* a if b else c; c may be NULL */
	N_LIST,  /* [list] */
	N_TUPLE, /* (list) */
	N_DICT,  /* the N_PAIRs of the list: a: b */
	N_PAIR,
	/* statements */
	N_TEXT,    /* value */
	N_OUTPUT,  /* {{ a }} */
	N_FOR,     /* for a in b if c: list, else: others */
	N_IF,      /* the N_BRANCHes of the list; a NULL for else */
	N_BRANCH,  /* if a: list */
	N_SET,     /* a = b */
	N_CAPTURE, /* a = the output of list, then the filters b on N_BODY */
	N_BODY,
	N_MACRO, /* name(N_KEYWORDs of others): list */
	N_SCOPE, /* list */
	N_BREAK,
	N_CONTINUE,
} jnode_kind;

typedef enum {
	OP_NONE,
	OP_ADD,
	OP_SUB,
	OP_MUL,
	OP_DIV,
	OP_FLOOR_DIV,
	OP_MOD,
	OP_POW,
	OP_CONCAT,
	OP_EQ,
	OP_NE,
	OP_LT,
	OP_LE,
	OP_GT,
	OP_GE,
	OP_IN,
	OP_NOT_IN,
} jop;

struct jnode {
	jnode_kind kind;
	jop op;
	uint32_t line;
	const jstring *name;
	jvalue value;
	jnode *a, *b, *c, *d;
	jnode *list, *others, *next;
};

/* ---- a run --------------------------------------------------------------------------------------------------- */

/* A text that grows. Zero-initialise. */
typedef struct {
	char *bytes;
	uint8_t *foreign; /* NULL: nothing foreign yet */
	size_t n, capacity;
} jout;

struct jscope {
	jscope *parent;
	jdict names;
};

typedef struct jchunk jchunk;

struct jrun {
	jmp_buf failed;
	evn_error *err;
	evn_status status;
	const char *name; /* of the template, for messages */
	uint32_t line;    /* that is computed */
	jchunk *chunks;
	size_t memory, steps;
	unsigned depth;
	jscope *scope;
	jout *out;
	jvalue captured; /* of N_BODY */
	struct tm now;
};

#define J_SHOW(s) (int)((s)->n < 64 ? (s)->n : 64), (s)->bytes /* for "%.*s" in messages */

_Noreturn void evn_j_fail(jrun *r, evn_status code, const char *fmt, ...) EVN_PRINTF(3, 4);
void *evn_j_alloc(jrun *r, size_t n, size_t size); /* zeros */
void evn_j_free(jrun *r);
void evn_j_spend(jrun *r, size_t steps);
void evn_j_enter(jrun *r); /* one level deeper */
static inline void evn_j_leave(jrun *r) { r->depth--; }

/* ---- strings: string.c --------------------------------------------------------------------------------------- */

void evn_j_append(jrun *r, jout *o, const char *bytes, size_t n);                     /* the template's */
void evn_j_append_part(jrun *r, jout *o, const jstring *s, size_t begin, size_t end); /* bytes */
static inline void evn_j_append_all(jrun *r, jout *o, const jstring *s) { evn_j_append_part(r, o, s, 0, s->n); }
const jstring *evn_j_finish(jrun *r, const jout *o);
const jstring *evn_j_text(jrun *r, const char *text); /* a copy; the template's */
const jstring *evn_j_part(jrun *r, const jstring *s, size_t begin, size_t end);
bool evn_j_same(const jstring *a, const jstring *b);
bool evn_j_is(const jstring *s, const char *text);
int evn_j_order(const jstring *a, const jstring *b);
uint32_t evn_j_character(const jstring *s, size_t at, size_t *length);
size_t evn_j_length(const jstring *s);                                          /* characters */
size_t evn_j_offset(const jstring *s, size_t character);                        /* the byte where it begins */
size_t evn_j_find(jrun *r, const jstring *s, const jstring *what, size_t from); /* a byte; SIZE_MAX: not there */
bool evn_j_is_space(uint32_t c);
bool evn_j_has_case(uint32_t c);
const jstring *evn_j_strip(jrun *r, const jstring *s, const jstring *characters, bool left, bool right);
const jstring *evn_j_replace(jrun *r, const jstring *s, const jstring *old, const jstring *by, int64_t most);
typedef enum { CASE_LOWER, CASE_UPPER, CASE_CAPITALIZE, CASE_TITLE, CASE_WORDS } jcase;
const jstring *evn_j_recase(jrun *r, const jstring *s, jcase to);
size_t evn_j_line_end(const jstring *s, size_t from, size_t *next); /* as Python's splitlines */

/* ---- values: value.c, print.c -------------------------------------------------------------------------------- */

jlist *evn_j_new_list(jrun *r, size_t capacity);
void evn_j_push(jrun *r, jlist *l, jvalue v);
jdict *evn_j_new_dict(jrun *r);
void evn_j_put(jrun *r, jdict *d, jvalue key, jvalue value);
void evn_j_put_new(jrun *r, jdict *d, jvalue key, jvalue value); /* the key is not there */
const jvalue *evn_j_get(jrun *r, const jdict *d, jvalue key);    /* NULL: not there */
const jvalue *evn_j_get_name(const jdict *d, const jstring *name);
jvalue evn_j_undefined(jrun *r, const char *fmt, ...) EVN_PRINTF(2, 3);
_Noreturn void evn_j_fail_undefined(jrun *r, jvalue undefined);
const char *evn_j_type(jvalue v); /* as Python calls it */
bool evn_j_true(jvalue v);
bool evn_j_equal(jrun *r, jvalue a, jvalue b);
int evn_j_compare(jrun *r, jvalue a, jvalue b, const char *op); /* fails for values without an order */
bool evn_j_contains(jrun *r, jvalue container, jvalue v);
jlist *evn_j_iterate(jrun *r, jvalue v); /* what a loop over v sees */
size_t evn_j_count(jrun *r, jvalue v);

const jstring *evn_j_str(jrun *r, jvalue v);
void evn_j_print(jrun *r, jout *o, jvalue v);
void evn_j_repr(jrun *r, jout *o, jvalue v);
const char *evn_j_double(char text[32], double f); /* as Python prints it */
jvalue evn_j_filter_tojson(jrun *r, jvalue self, const jargs *a);

/* ---- expressions: eval.c, operate.c, access.c ---------------------------------------------------------------- */

jvalue evn_j_eval(jrun *r, const jnode *n);
jvalue evn_j_operate(jrun *r, jop op, jvalue a, jvalue b);
bool evn_j_compare_by(jrun *r, jop op, jvalue a, jvalue b);
jvalue evn_j_attribute(jrun *r, jvalue v, const jstring *name); /* v.name */
jvalue evn_j_item(jrun *r, jvalue v, jvalue key);               /* v[key] */
jvalue evn_j_path(jrun *r, jvalue v, jvalue path);              /* "a.b.0", as filters name attributes */
jvalue evn_j_slice(jrun *r, jvalue v, const jvalue bounds[3]);  /* J_NONE: not given */
jvalue evn_j_call(jrun *r, jvalue callee, const jargs *a);
jvalue evn_j_call_macro(jrun *r, const jcallable *c, const jargs *a); /* statements.c */

/* Puts the arguments into values by place or name. values holds the defaults; J_MISSING: must be given. */
typedef struct {
	const char *function;
	const char *names[6];
} jparameters;
void evn_j_bind(jrun *r, const jargs *a, const jparameters *p, jvalue *values);
const jstring *evn_j_need_string(jrun *r, jvalue v, const char *what);
int64_t evn_j_need_int(jrun *r, jvalue v, const char *what);

extern const jentry evn_j_functions[], evn_j_filters[], evn_j_list_filters[], evn_j_tests[];
extern const jentry evn_j_string_methods[], evn_j_dict_methods[], evn_j_list_methods[], evn_j_loop_methods[];
const jentry *evn_j_find_entry(const jentry *table, const jstring *name);
jvalue evn_j_apply_filter(jrun *r, const jstring *name, jvalue v, const jargs *a);
bool evn_j_apply_test(jrun *r, const jstring *name, jvalue v, const jargs *a);

/* ---- the template -------------------------------------------------------------------------------------------- */

typedef enum {
	TOKEN_DATA,
	TOKEN_BLOCK_BEGIN,
	TOKEN_BLOCK_END,
	TOKEN_OUTPUT_BEGIN,
	TOKEN_OUTPUT_END,
	TOKEN_NAME,
	TOKEN_STRING, /* without its quotes */
	TOKEN_INTEGER,
	TOKEN_FLOAT,
	TOKEN_OPERATOR,
	TOKEN_END,
} jtoken_kind;

typedef struct {
	jtoken_kind kind;
	uint32_t line;
	const char *text;
	size_t n;
} jtoken;

const jtoken *evn_j_lex(jrun *r, const char *source, size_t n); /* ended by TOKEN_END */

typedef struct {
	jrun *run;
	const jtoken *at;
	unsigned nesting, loops;
} jparser;

jnode *evn_j_parse(jrun *r, const jtoken *tokens); /* the list of statements */
/* parse_expression.c */
jnode *evn_j_parse_expression(jparser *p);
jnode *evn_j_parse_tuple(jparser *p, bool conditions); /* "a" or "a, b"; conditions: with "x if y" */
jnode *evn_j_parse_target(jparser *p);                 /* what for and set assign to */
jnode *evn_j_parse_filters(jparser *p, jnode *n);
jnode *evn_j_node(jparser *p, jnode_kind kind);
bool evn_j_token_is(const jtoken *t, const char *text); /* a name or an operator */
bool evn_j_take(jparser *p, const char *text);
void evn_j_expect(jparser *p, const char *text);
const jstring *evn_j_expect_name(jparser *p, const char *what);
_Noreturn void evn_j_unexpected(jparser *p, const char *expected);
void evn_j_nest(jparser *p);

void evn_j_execute(jrun *r, const jnode *list);

#endif
