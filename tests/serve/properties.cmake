# Scripts that talk to a running server. They need the model; some need the packages of scripts/fetch-clients.
find_package(Python3 COMPONENTS Interpreter REQUIRED)
foreach(script http)
	add_test(NAME serve/${script} COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/serve/${script}_test.py
		$<TARGET_FILE:evener_cli> ${CMAKE_SOURCE_DIR})
	set_tests_properties(serve/${script} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300 COST 60
		ENVIRONMENT LSAN_OPTIONS=suppressions=${CMAKE_CURRENT_SOURCE_DIR}/lsan.supp:print_suppressions=0)
endforeach()
