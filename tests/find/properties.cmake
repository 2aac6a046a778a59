# Drivers that fail on purpose, and the helper program that probes them.
foreach(kind crash hang)
	add_library(bad_icd_${kind} MODULE find/bad_icd.c)
	set_target_properties(bad_icd_${kind} PROPERTIES PREFIX "" C_VISIBILITY_PRESET default
		LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endforeach()
target_compile_definitions(bad_icd_hang PRIVATE HANG)
add_dependencies(test_discover evener_probe bad_icd_crash bad_icd_hang)

add_library(fault_layer MODULE find/fault_layer.c)
set_target_properties(fault_layer PROPERTIES PREFIX "" C_VISIBILITY_PRESET default
	LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
add_dependencies(test_smoke fault_layer)
