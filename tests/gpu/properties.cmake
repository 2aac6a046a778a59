# Without a GPU: kernels for GPUs are compiled for chips, and the compilers' figures are checked. All formats take minutes.
add_test(NAME gpu/compile_kernels COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/gpu/compile_kernels.py ${CMAKE_SOURCE_DIR}/kernels --only q4_1)
add_test(NAME gpu/compile_kernels_all COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/gpu/compile_kernels.py ${CMAKE_SOURCE_DIR}/kernels)
set_tests_properties(gpu/compile_kernels gpu/compile_kernels_all PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300)
set_tests_properties(gpu/compile_kernels_all PROPERTIES LABELS long TIMEOUT 1200)

# A program that is copied to other machines has no sanitizer.
if(EVN_CLI AND NOT EVN_SANITIZE)
	add_test(NAME gpu/check COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/gpu/gpu-check.sh $<TARGET_FILE:evener_cli> ${CMAKE_SOURCE_DIR})
	set_tests_properties(gpu/check PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300)
endif()
