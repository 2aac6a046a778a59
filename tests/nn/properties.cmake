# The first run builds every kernel on every device.
add_dependencies(test_kernels evener_probe)
set_tests_properties(nn/test_kernels PROPERTIES TIMEOUT 600)
add_test(NAME nn/oclgrind COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/nn/oclgrind.sh $<TARGET_FILE:test_kernels>
	${CMAKE_SOURCE_DIR}/kernels)
set_tests_properties(nn/oclgrind PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 240)
