# Scripts that run the built program.
foreach(script refuse results picture train score batch make-model model-files quantize checkpoint interrupt chat embed classify images trace simulate translate)
	add_test(NAME cli/${script} COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/cli/${script}.sh
		$<TARGET_FILE:evener_cli> ${CMAKE_SOURCE_DIR})
	set_tests_properties(cli/${script} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300
		ENVIRONMENT LSAN_OPTIONS=suppressions=${CMAKE_CURRENT_SOURCE_DIR}/lsan.supp:print_suppressions=0)
endforeach()

# Drivers of three vendors. Measuring the slow one takes a minute.
foreach(what plan run)
	add_test(NAME cli/vendors_${what} COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/cli/vendors.sh
		$<TARGET_FILE:evener_cli> ${CMAKE_SOURCE_DIR} ${what})
	set_tests_properties(cli/vendors_${what} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600 LABELS long)
endforeach()

add_test(NAME cli/share_cores COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/cli/vendors.sh
	$<TARGET_FILE:evener_cli> ${CMAKE_SOURCE_DIR} cores)
set_tests_properties(cli/share_cores PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300)
add_test(NAME cli/score_long COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/cli/score.sh $<TARGET_FILE:evener_cli>
	${CMAKE_SOURCE_DIR} long)
set_tests_properties(cli/score_long PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 1800 LABELS long)

# float64 in numpy for 40 sentences, and measuring three sets of devices
add_test(NAME cli/embed_model COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/cli/embed.sh $<TARGET_FILE:evener_cli>
	${CMAKE_SOURCE_DIR} model)
set_tests_properties(cli/embed_model PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600 LABELS long)

# This test compares speeds, so nothing else may run at the same time.
add_test(NAME cli/proposed COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/cli/proposed.sh $<TARGET_FILE:evener_cli>
	${CMAKE_SOURCE_DIR})
set_tests_properties(cli/proposed PROPERTIES SKIP_RETURN_CODE 77 RUN_SERIAL ON TIMEOUT 1800 LABELS long)

set_tests_properties(cli/score PROPERTIES COST 100)
set_tests_properties(cli/batch PROPERTIES COST 80)
set_tests_properties(cli/train PROPERTIES COST 90)
set_tests_properties(cli/results PROPERTIES COST 70)
set_tests_properties(cli/chat PROPERTIES COST 60)
set_tests_properties(cli/images PROPERTIES COST 60 TIMEOUT 600)
set_tests_properties(cli/checkpoint PROPERTIES COST 50 TIMEOUT 600)
