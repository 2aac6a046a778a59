# The first run builds every kernel on every device: one core's work for minutes.
add_dependencies(test_kernels evener_probe)
foreach(platform intel rusticl)
	add_test(NAME nn/test_kernels_${platform} COMMAND test_kernels ${platform})
	set_tests_properties(nn/test_kernels_${platform} PROPERTIES SKIP_RETURN_CODE 77)
endforeach()
set_tests_properties(nn/test_kernels nn/test_kernels_intel nn/test_kernels_rusticl PROPERTIES TIMEOUT 600 PROCESSORS 1)
add_test(NAME nn/oclgrind COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/nn/oclgrind.sh $<TARGET_FILE:test_kernels>
	${CMAKE_SOURCE_DIR}/kernels)
set_tests_properties(nn/oclgrind PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 240)
