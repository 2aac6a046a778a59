# The tests that run in a build with sanitizers. They get the label "sanitized"; the target of that name builds those
# for ThreadSanitizer. Kernels are not instrumented: these builds test the host's memory and the threads of the ranks.
# ThreadSanitizer needs no suppressions: it sees PoCL's locks, which order the accesses of its threads to buffers.
#
# AddressSanitizer runs at least one test of every layer on the drivers, each with those of its cases that take the least
# time. A program that unloads a driver would seem to leak: what only the driver's own variables refer to is lost then
# (seen with the loader's drivers of Intel and Mesa: 128 bytes). So these programs keep their libraries (keep_loaded.c).
set(LEAKS LSAN_OPTIONS=suppressions=${CMAKE_CURRENT_SOURCE_DIR}/lsan.supp:print_suppressions=0)
add_test(NAME engine/test_batch_halves COMMAND test_batch halves)
add_test(NAME train/test_gradients_cuts COMMAND test_gradients cuts_agree)
set_tests_properties(engine/test_batch_halves train/test_gradients_cuts PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 200
	ENVIRONMENT ${LEAKS} COST 100)

get_property(sanitized DIRECTORY PROPERTY TESTS)
add_custom_target(sanitized)
if(EVN_SANITIZE STREQUAL "thread")
	add_dependencies(sanitized evener_probe test_team test_threads test_batch test_scheduler)
	list(FILTER sanitized INCLUDE REGEX "^(group/test_team|engine/test_(threads|batch_halves|scheduler)|serve/leave)$")
	if(EVN_CLI)
		add_dependencies(sanitized evener_cli)
	endif()
else()
	list(FILTER sanitized INCLUDE REGEX "^((base|model|chat|grammar|plan|cli|find|group|nn|serve|fuzz)/|ocl/test_(source|kernel_dir|pocl_usecount)$|\
engine/test_(sampler|sample_top|schedule|scheduler|speculate|simple_lm|errors|memory|threads|comm|batch_halves)$|train/test_(tokens|trainer|gradients_cuts)$)")
endif()
foreach(test IN LISTS sanitized)
	set_property(TEST ${test} APPEND PROPERTY LABELS sanitized)
	# Intel's runtime gives its threads another stack for signals, which AddressSanitizer would unmap when they end: it then
	# ends the program (seen in cli/images with three ranks).
	set_property(TEST ${test} APPEND PROPERTY ENVIRONMENT TSAN_OPTIONS=history_size=4 ASAN_OPTIONS=use_sigaltstack=0)
endforeach()
