# The built program, driven by scripts.
foreach(script refuse results)
	add_test(NAME cli/${script} COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/cli/${script}.sh
		$<TARGET_FILE:evener_cli> ${CMAKE_SOURCE_DIR})
	set_tests_properties(cli/${script} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300
		ENVIRONMENT LSAN_OPTIONS=suppressions=${CMAKE_CURRENT_SOURCE_DIR}/lsan.supp:print_suppressions=0)
endforeach()
