# The engine's tests measure devices first, which is the probe's work.
foreach(source IN LISTS sources)
	get_filename_component(name ${source} NAME_WE)
	add_dependencies(${name} evener_probe)
endforeach()

# engine_run NAME LABEL SECONDS PROGRAM ARGS...: one more run of a test program; ENGINE_ENV adds to its environment.
function(engine_run name label seconds program)
	add_test(NAME engine/${name} COMMAND ${program} ${ARGN})
	set_tests_properties(engine/${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT ${seconds} LABELS "${label}"
		ENVIRONMENT "LSAN_OPTIONS=suppressions=${CMAKE_CURRENT_SOURCE_DIR}/lsan.supp:print_suppressions=0;${ENGINE_ENV}")
endfunction()

# Without arguments: every case of the Q4_1 file on one rank.
set_tests_properties(engine/test_reference PROPERTIES TIMEOUT 300)
engine_run(test_reference_halves "" 300 test_reference pocl/1+1)
engine_run(test_reference_f32 "" 300 test_reference pocl f32 2 16)
engine_run(test_reference_f32_halves "" 300 test_reference pocl/1+1 f32 2 16)
engine_run(test_reference_f32_long long 1200 test_reference pocl f32)
engine_run(test_reference_f32_halves_long long 1200 test_reference pocl/1+1 f32)

set_tests_properties(engine/test_splits PROPERTIES TIMEOUT 300)
engine_run(test_splits_f32 long 1200 test_splits ${CMAKE_SOURCE_DIR}/models/smollm2-135m-instruct-f32.gguf)

# Two vendors on one CPU, a core each.
set(ENGINE_ENV POCL_MAX_PTHREAD_COUNT=1 DPCPP_CPU_NUM_CUS=1)
engine_run(test_reference_vendors "" 300 test_reference pocl,intel q4_1 3)
engine_run(test_reference_vendors_f32 "" 300 test_reference pocl,intel f32 2 16)
engine_run(test_reference_vendors_long long 1200 test_reference pocl,intel)
engine_run(test_reference_vendors_f32_long long 1200 test_reference pocl,intel f32)
unset(ENGINE_ENV)
