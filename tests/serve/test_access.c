/* Tests of who may use the server: API keys, names of the host, origins of web pages. */
#include "serve/access.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static evn_status read_keys(access_rules *a, const char *text, mode_t mode, evn_error *err)
{
	char path[] = "/tmp/evener-keys-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
	evn_status status = access_read_keys(a, path, err);
	unlink(path);
	return status;
}

static void keys_of_a_file(void **state)
{
	access_rules a = {0};
	evn_error err = {0};
	problem p = {0};
	(void)state;
	assert_int_equal(read_keys(&a, "first-key\n\n  second \r\n", 0600, &err), EVN_OK);
	assert_int_equal(a.n_keys, 2);
	assert_true(access_has_key(&a, "Bearer first-key", &p));
	assert_true(access_has_key(&a, "bearer second", &p));
	static const char *const wrong[] = {NULL,
										"",
										"Bearer ",
										"Bearer first-ke",
										"Bearer first-key2",
										"Bearer first-keyfirst-key",
										"Bearer first-kez",
										"first-key",
										"Basic first-key"};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		assert_false(access_has_key(&a, wrong[i], &p));
		assert_int_equal(p.status, 401);
		assert_null(strstr(p.message, "first-key")); /* nor is it told */
	}
	access_free(&a);
}

static void files_without_keys(void **state)
{
	access_rules a = {0};
	evn_error err = {0};
	problem p = {0};
	(void)state;
	assert_int_equal(access_read_keys(&a, NULL, &err), EVN_OK);
	assert_true(access_has_key(&a, NULL, &p));
	assert_int_equal(read_keys(&a, "\n \n", 0600, &err), EVN_ERR_FORMAT);
	access_free(&a);
	assert_int_equal(read_keys(&a, "key\n", 0640, &err), EVN_ERR_FILE);
	assert_non_null(strstr(err.text, "mode 640"));
	access_free(&a);
	assert_int_equal(access_read_keys(&a, "/nowhere/keys", &err), EVN_ERR_FILE);
	access_free(&a);
}

static void hosts_without_a_key(void **state)
{
	access_rules a = {.host = "box", .loopback = true};
	problem p = {0};
	(void)state;
	static const char *const good[] = {NULL,          "localhost",   "localhost:8080",
									   "127.0.0.1:1", "[::1]:80",    "10.1.2.3",
									   "BOX:8080",    "a.localhost", "host.docker.internal:8080"};
	static const char *const bad[] = {
		"evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "", ".internal"};
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_true(access_host_allowed(&a, good[i], &p));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_false(access_host_allowed(&a, bad[i], &p));
		assert_int_equal(p.status, 403);
	}
	a.loopback = false;
	assert_true(access_host_allowed(&a, "name.example", &p));
}

static void origins(void **state)
{
	access_rules a = {0};
	problem p = {0};
	(void)state;
	assert_true(access_origin_allowed(&a, NULL, "localhost:8080", &p));
	assert_true(access_origin_allowed(&a, "http://localhost:8080", "localhost:8080", &p));
	assert_false(access_origin_allowed(&a, "http://localhost:3000", "localhost:8080", &p));
	assert_false(access_origin_allowed(&a, "https://evil.example", "localhost:8080", &p));
	assert_false(access_origin_allowed(&a, "null", "localhost:8080", &p));
	a.cors = "https://chat.example";
	assert_true(access_origin_allowed(&a, "https://chat.example", "localhost:8080", &p));
	assert_false(access_origin_allowed(&a, "https://chat.example.evil", "localhost:8080", &p));
	a.cors = "*";
	assert_true(access_origin_allowed(&a, "null", "localhost:8080", &p));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_of_a_file),
		cmocka_unit_test(files_without_keys),
		cmocka_unit_test(hosts_without_a_key),
		cmocka_unit_test(origins),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
