# A process of its own: the folder that kernels come from is read once.
add_test(NAME ocl/kernels_alone COMMAND test_source kernels)
set_tests_properties(ocl/kernels_alone PROPERTIES TIMEOUT 120)
