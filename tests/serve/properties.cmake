# Scripts that talk to a running server. They need the model; some need the packages of scripts/fetch-clients.
find_package(Python3 COMPONENTS Interpreter REQUIRED)
function(evn_serve_test name script)
	add_test(NAME serve/${name} COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/serve/${script}_test.py
		$<TARGET_FILE:evener_cli> ${CMAKE_SOURCE_DIR} ${ARGN})
	set_tests_properties(serve/${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 900 COST 60
		ENVIRONMENT LSAN_OPTIONS=suppressions=${CMAKE_CURRENT_SOURCE_DIR}/lsan.supp:print_suppressions=0)
endfunction()
evn_serve_test(http http)
evn_serve_test(api api)
evn_serve_test(messages messages)
evn_serve_test(leave leave)
evn_serve_test(load load)
evn_serve_test(load_long load 10000)
evn_serve_test(schema schema)
evn_serve_test(page page)
evn_serve_test(turns turns)
evn_serve_test(turns_long turns 3000)
set_tests_properties(serve/load_long serve/schema serve/page serve/turns_long PROPERTIES LABELS long TIMEOUT 3600)
