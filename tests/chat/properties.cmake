# Compares rendered templates with those of Python's jinja2.
add_executable(chat_render chat/render.c)
target_link_libraries(chat_render PRIVATE evn_chat)
add_test(NAME chat/compare COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/chat/compare.py $<TARGET_FILE:chat_render>)
set_tests_properties(chat/compare PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 120)
