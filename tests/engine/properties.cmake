# The helper program probes the drivers and measures devices.
foreach(source IN LISTS sources)
	get_filename_component(name ${source} NAME_WE)
	add_dependencies(${name} evener_probe)
endforeach()

# Tests that open engines and do not depend on rates. fixed_profile.c supplies fixed rates, and nothing is measured.
foreach(name test_draft test_errors test_faults test_files test_moves test_rebalance test_recover test_reference test_scheduler test_score test_simple_lm test_splits
	test_states test_threads test_verify)
	target_sources(${name} PRIVATE engine/fixed_profile.c)
	target_link_options(${name} PRIVATE -Wl,--wrap=evn_profiles_get,--wrap=evn_profile_get)
endforeach()

set(LEAKS LSAN_OPTIONS=suppressions=${CMAKE_CURRENT_SOURCE_DIR}/lsan.supp:print_suppressions=0)

# engine_run NAME LABEL SECONDS PROGRAM ARGS...: adds another run of a test program. ENGINE_ENV adds to its environment.
function(engine_run name label seconds program)
	add_test(NAME engine/${name} COMMAND ${program} ${ARGN})
	set_tests_properties(engine/${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT ${seconds} LABELS "${label}"
		ENVIRONMENT "${LEAKS};${ENGINE_ENV}")
endfunction()

# Without arguments: every case of the Q4_1 file on one rank.
set_tests_properties(engine/test_reference PROPERTIES TIMEOUT 300)
engine_run(test_reference_halves "" 300 test_reference pocl/1+1)
engine_run(test_reference_shares "" 300 test_reference pocl/1+1 q4_1 3 24 f32 1,1/3,1)
# One rank with 1 lane, and such a rank beside one with vectors.
set(ENGINE_ENV EVENER_TEST_DOTS=lanes-f32)
engine_run(test_reference_lanes long 900 test_reference pocl q4_1 1 8)
set(ENGINE_ENV EVENER_TEST_DOTS=lanes-f32,f32)
engine_run(test_reference_lanes_beside "" 900 test_reference pocl/1+1 q4_1 1 8)
set(ENGINE_ENV)
engine_run(test_reference_kv_f16 "" 300 test_reference pocl/1+1 q4_1 3 24 f16)
engine_run(test_reference_kv_q8_0 "" 300 test_reference pocl/1+1 q4_1 3 24 q8_0)
engine_run(test_reference_kv_q4_0 "" 300 test_reference pocl/1+1 q4_1 3 24 q4_0)
engine_run(test_reference_f32 "" 300 test_reference pocl f32 2 16)
engine_run(test_reference_f32_long long 1200 test_reference pocl f32)
engine_run(test_reference_f32_halves_long long 1200 test_reference pocl/1+1 f32)

set_tests_properties(engine/test_draft engine/test_splits engine/test_scheduler engine/test_recover PROPERTIES TIMEOUT 900)
engine_run(test_draft_long long 3000 test_draft 50)
add_dependencies(test_recover fault_layer)
add_dependencies(test_rebalance fault_layer)
add_dependencies(test_faults fault_layer)
target_link_libraries(test_faults PRIVATE evn_train)
add_dependencies(test_verify fault_layer)
engine_run(test_faults_all long 900 test_faults all)
set_tests_properties(engine/test_rebalance PROPERTIES TIMEOUT 600 RUN_SERIAL TRUE) # it compares times
engine_run(test_moves_long long 3000 test_moves pocl/1+1 450)
engine_run(test_scheduler_halves "" 900 test_scheduler pocl/1+1)
engine_run(test_splits_f32 long 1200 test_splits ${CMAKE_SOURCE_DIR}/models/smollm2-135m-instruct-f32.gguf)

# Tiny models and their expected logits, made by Python: with several splits on one driver, then over several drivers.
foreach(kind cases few lanes long)
	add_test(NAME engine/decoder_${kind} COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/engine/decoder_cases.py
		${CMAKE_BINARY_DIR}/tests/decoder-${kind} ${kind})
	set_tests_properties(engine/decoder_${kind} PROPERTIES FIXTURES_SETUP decoder_${kind} SKIP_RETURN_CODE 77 TIMEOUT 300)
endforeach()
set_tests_properties(engine/decoder_long PROPERTIES LABELS long)
set(cases ${CMAKE_BINARY_DIR}/tests/decoder-cases)

# A layer that refuses one call; and one allocation of this project's own files fails.
add_library(call_layer MODULE find/call_layer.c)
set_target_properties(call_layer PROPERTIES PREFIX "" C_VISIBILITY_PRESET default
	LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
add_dependencies(test_torture call_layer evener_probe)
target_link_options(test_torture PRIVATE -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc)
set(ENGINE_ENV EVENER_TEST_CASES=${cases})
engine_run(test_torture_all long 3000 test_torture all)
unset(ENGINE_ENV)
set_tests_properties(engine/test_torture PROPERTIES ENVIRONMENT "${LEAKS};EVENER_TEST_CASES=${cases}" TIMEOUT 300)
set_tests_properties(engine/test_torture engine/test_torture_all PROPERTIES FIXTURES_REQUIRED decoder_cases)
set_tests_properties(engine/test_decoder engine/test_errors PROPERTIES TIMEOUT 1800 FIXTURES_REQUIRED decoder_cases
	ENVIRONMENT "${LEAKS};EVENER_TEST_CASES=${cases}")
set_tests_properties(engine/test_states PROPERTIES TIMEOUT 300 FIXTURES_REQUIRED decoder_few
	ENVIRONMENT "${LEAKS};EVENER_TEST_CASES=${CMAKE_BINARY_DIR}/tests/decoder-few")
engine_run(test_decoder_context long 600 test_decoder ${CMAKE_BINARY_DIR}/tests/decoder-long pocl,pocl 512)
set_tests_properties(engine/test_decoder_context PROPERTIES FIXTURES_REQUIRED decoder_long)

# Two vendors on one CPU, with one core each.
set(ENGINE_ENV POCL_MAX_PTHREAD_COUNT=1 DPCPP_CPU_NUM_CUS=1 EVENER_TEST_CASES=${cases})
engine_run(test_errors_vendors "" 120 test_errors vendors)
engine_run(test_moves_vendors "" 300 test_moves pocl,intel 12)
engine_run(test_moves_vendors_long long 3000 test_moves pocl,intel 450)
engine_run(test_scheduler_vendors "" 900 test_scheduler pocl,intel)
engine_run(test_reference_vendors "" 900 test_reference pocl,intel q4_1 3)
engine_run(test_reference_vendors_shares "" 300 test_reference pocl,intel q4_1 3 24 f32 1,1/3,0)
engine_run(test_reference_vendors_f32 "" 300 test_reference pocl,intel f32 2 16)
engine_run(test_reference_vendors_long long 1200 test_reference pocl,intel)
engine_run(test_reference_vendors_f32_long long 1200 test_reference pocl,intel f32)
set_tests_properties(engine/test_comm engine/test_comm_deadline PROPERTIES TIMEOUT 300)
engine_run(test_comm_vendors "" 300 test_comm pocl,intel)
engine_run(test_comm_part_vendors "" 300 test_comm_part pocl,intel)
engine_run(test_comm_vendors_packed "" 300 test_comm pocl,intel packed)
engine_run(test_comm_three_vendors_packed "" 300 test_comm pocl,intel,rusticl packed)
engine_run(test_decoder_vendors "" 900 test_decoder ${CMAKE_BINARY_DIR}/tests/decoder-few pocl,intel)
engine_run(test_decoder_vendors_all long 600 test_decoder ${cases} pocl,intel)
engine_run(test_decoder_three_vendors long 600 test_decoder ${cases} pocl,intel,rusticl)
set_tests_properties(engine/test_errors_vendors engine/test_decoder_vendors_all engine/test_decoder_three_vendors PROPERTIES
	FIXTURES_REQUIRED decoder_cases)
set_tests_properties(engine/test_decoder_vendors PROPERTIES FIXTURES_REQUIRED decoder_few)
# Every rank with 1 lane.
list(APPEND ENGINE_ENV EVENER_TEST_LANES=1)
engine_run(test_decoder_lanes "" 600 test_decoder ${CMAKE_BINARY_DIR}/tests/decoder-lanes pocl,intel)
engine_run(test_decoder_lanes_few long 3000 test_decoder ${CMAKE_BINARY_DIR}/tests/decoder-few pocl,intel)
set_tests_properties(engine/test_decoder_lanes PROPERTIES FIXTURES_REQUIRED decoder_lanes)
set_tests_properties(engine/test_decoder_lanes_few PROPERTIES FIXTURES_REQUIRED decoder_few)
unset(ENGINE_ENV)

set_tests_properties(engine/test_decoder PROPERTIES COST 60)
set_tests_properties(engine/test_reference_vendors PROPERTIES COST 50)
set_tests_properties(engine/test_splits engine/test_reference_vendors_f32 PROPERTIES COST 40)
set_tests_properties(engine/test_decoder_vendors PROPERTIES COST 30)

# These tests measure two sets of devices and compile the kernels of six.
set_tests_properties(engine/test_threads engine/test_batch PROPERTIES TIMEOUT 600 COST 100)

# PoCL twice: as a CPU, and as a simulated card with its own memory (ocl/discrete_layer.c), which is the only GPU.
add_dependencies(test_comm discrete_layer)
add_dependencies(test_comm_part discrete_layer)
add_dependencies(test_reference discrete_layer)
target_link_libraries(test_reference PRIVATE ${CMAKE_DL_LIBS})
add_dependencies(test_scheduler discrete_layer)
set(DISCRETE "POCL_DEVICES=pthread pthread" POCL_MAX_PTHREAD_COUNT=2 DISCRETE_DEVICE=1 OPENCL_LAYERS=${CMAKE_BINARY_DIR}/tests/discrete_layer.so)
set(ENGINE_ENV ${DISCRETE})
engine_run(test_comm_discrete "" 900 test_comm pocl staged)
engine_run(test_comm_discrete_vendors "" 900 test_comm gpu,intel packed)
engine_run(test_comm_part_discrete "" 300 test_comm_part gpu,intel staged)
engine_run(test_scheduler_discrete "" 900 test_scheduler pocl test_largest)
set(ENGINE_ENV ${DISCRETE} EVENER_TEST_DOTS=f32,f32)
engine_run(test_reference_discrete "" 900 test_reference pocl q4_1 long_400 4)
engine_run(test_reference_discrete_alone "" 900 test_reference gpu q4_1 1 8)
engine_run(test_reference_discrete_vendors "" 900 test_reference gpu,intel q4_1 1 8)
# Weights in several buffers.
set(ENGINE_ENV ${DISCRETE} EVENER_TEST_DOTS=f32,f32 DISCRETE_MAX_ALLOC=7000000)
engine_run(test_reference_small_buffers "" 300 test_reference gpu q4_1 1 4)
# An integrated GPU, which may use flags if the driver has fine-grained SVM atomics.
set(ENGINE_ENV ${DISCRETE} DISCRETE_UNIFIED=1)
engine_run(test_comm_integrated "" 300 test_comm pocl integrated)
unset(ENGINE_ENV)

# Random schemas: what is written for them is valid by Python's jsonschema.
add_executable(grammar_texts engine/grammar_texts.c)
target_link_libraries(grammar_texts PRIVATE evn_engine PkgConfig::JANSSON)
function(schemas_test name n_schemas n_texts)
	add_test(NAME engine/${name} COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/engine/schemas_test.py
		$<TARGET_FILE:grammar_texts> ${n_schemas} ${n_texts})
	set_tests_properties(engine/${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 120 ENVIRONMENT "${LEAKS}")
endfunction()
schemas_test(schemas 40 3)
schemas_test(schemas_long 300 10)
set_tests_properties(engine/schemas_long PROPERTIES LABELS long TIMEOUT 600)
