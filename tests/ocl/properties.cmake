# A separate process, because the folder of the kernels is read once in a process.
add_test(NAME ocl/kernels_alone COMMAND test_source kernels)
set_tests_properties(ocl/kernels_alone PROPERTIES TIMEOUT 120)

# A card with its own memory, simulated.
add_library(discrete_layer MODULE ocl/discrete_layer.c)
set_target_properties(discrete_layer PROPERTIES PREFIX "" C_VISIBILITY_PRESET default
	LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
target_link_libraries(discrete_layer PRIVATE Threads::Threads)
add_dependencies(test_discrete discrete_layer)
target_link_libraries(test_discrete PRIVATE ${CMAKE_DL_LIBS})
