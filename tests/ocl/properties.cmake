# A separate process, because the folder of the kernels is read once in a process.
add_test(NAME ocl/kernels_alone COMMAND test_source kernels)
set_tests_properties(ocl/kernels_alone PROPERTIES TIMEOUT 120)
