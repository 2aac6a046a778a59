# The tests that run in a build with sanitizers. They get the label "sanitized"; the target of that name builds those
# for ThreadSanitizer. Kernels are not instrumented: these builds test the host's memory and the threads of the ranks.
# ThreadSanitizer needs no suppressions: it sees PoCL's locks, which order the accesses of its threads to buffers.
add_test(NAME engine/test_batch_halves COMMAND test_batch halves)
set_tests_properties(engine/test_batch_halves PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 120
	ENVIRONMENT LSAN_OPTIONS=suppressions=${CMAKE_CURRENT_SOURCE_DIR}/lsan.supp:print_suppressions=0)

get_property(sanitized DIRECTORY PROPERTY TESTS)
add_custom_target(sanitized)
if(EVN_SANITIZE STREQUAL "thread")
	add_dependencies(sanitized evener_probe test_team test_threads test_batch)
	list(FILTER sanitized INCLUDE REGEX "^(group/test_team|engine/test_threads|engine/test_batch_halves)$")
else()
	# The drivers leak what they hold when they are unloaded; tests that load them in their own process are left out.
	list(FILTER sanitized INCLUDE REGEX "^((base|model|plan|cli|group|nn)/|ocl/test_source$)")
endif()
foreach(test IN LISTS sanitized)
	set_property(TEST ${test} APPEND PROPERTY LABELS sanitized)
	set_property(TEST ${test} APPEND PROPERTY ENVIRONMENT TSAN_OPTIONS=history_size=4)
endforeach()
