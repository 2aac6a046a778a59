# Every kernel with one weight format of each kind; on llvmpipe with two formats and two shapes of attention; kernels for
# 1 lane on PoCL. The runs with all formats and both widths compile for minutes on one core, so they have the label long
# (engine/test_decoder covers every format too).
add_dependencies(test_kernels evener_probe)
set_tests_properties(proof/test_kernels PROPERTIES TIMEOUT 3000 COST 80)
foreach(platform intel rusticl)
	add_test(NAME proof/test_kernels_${platform} COMMAND test_kernels ${platform})
	set_tests_properties(proof/test_kernels_${platform} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 3000 COST 90)
endforeach()
# llvmpipe compiles these kernels three times as fast without its optimisations. The long run has them.
set_tests_properties(proof/test_kernels_rusticl PROPERTIES ENVIRONMENT GALLIVM_PERF=nopt)
foreach(platform pocl intel rusticl)
	add_test(NAME proof/test_kernels_${platform}_all COMMAND test_kernels ${platform} all)
	set_tests_properties(proof/test_kernels_${platform}_all PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 3600 LABELS long)
endforeach()
add_test(NAME proof/oclgrind COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/proof/oclgrind.sh $<TARGET_FILE:test_kernels>
	${CMAKE_SOURCE_DIR}/kernels)
add_test(NAME proof/oclgrind_lanes COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/proof/oclgrind.sh $<TARGET_FILE:test_kernels>
	${CMAKE_SOURCE_DIR}/kernels 1)
set_tests_properties(proof/oclgrind PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 1200 COST 60)
set_tests_properties(proof/oclgrind_lanes PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 3600 LABELS long) # some 10 minutes
