"""The wordings of every form of question, for `questions.py` to fill in and draw from.

Slots: {thing} "red circle" / "빨간 원"; {things} the same in the plural; {a} and {b} two
things; {shape}, {colour} names of one; {where} a relation; {number} a count; {spelling}
"colour" or "color". Forms of one kind of question differ in what they ask about.
"""

from janusflow.mini.language.words import Language

Wordings = dict[str, tuple[str, ...]]
"""Form of a question -> ways to ask it."""

ENGLISH: Wordings = {
    "colour": (
        "What {spelling} is the {thing}?",
        "Which {spelling} is the {thing}?",
        "What is the {spelling} of the {thing}?",
        "What {spelling} does the {thing} have?",
        "Tell me the {spelling} of the {thing}.",
    ),
    "colour_of_several": (
        "What {spelling} are the {things}?",
        "Which {spelling} are the {things}?",
        "What is the {spelling} of the {things}?",
        "Tell me the {spelling} of the {things}.",
    ),
    "colour_alone": (
        "What {spelling} is it?",
        "What {spelling} is the shape?",
        "What {spelling} is the object?",
        "Which {spelling} do you see?",
        "What is the {spelling} of the object?",
    ),
    "shape": (
        "What shape is the {thing}?",
        "Which shape is the {thing}?",
        "What is the {thing}?",
        "What is the shape of the {thing}?",
        "Tell me the shape of the {thing}.",
    ),
    "shape_of_several": (
        "What shape are the {things}?",
        "Which shape are the {things}?",
        "What is the shape of the {things}?",
        "Tell me the shape of the {things}.",
    ),
    "shape_alone": (
        "What shape is it?",
        "What shape is this?",
        "Which shape do you see?",
        "What shape is in the picture?",
        "What shape is shown in the image?",
    ),
    "count_all": (
        "How many objects are there?",
        "How many shapes are there?",
        "How many objects are in the picture?",
        "How many shapes do you see?",
        "Count the objects.",
        "How many things are in the image?",
    ),
    "count_some": (
        "How many {things} are there?",
        "How many {things} are in the picture?",
        "How many {things} do you see?",
        "Count the {things}.",
        "What is the number of {things}?",
    ),
    "position": (
        "Where is the {thing}?",
        "Where is the {thing} in the picture?",
        "In which part of the picture is the {thing}?",
        "What is the position of the {thing}?",
        "Whereabouts is the {thing}?",
    ),
    "relation_what": (
        "What is {where} the {thing}?",
        "Which object is {where} the {thing}?",
        "What do you see {where} the {thing}?",
        "What can be seen {where} the {thing}?",
    ),
    "relation_where": (
        "Where is the {a} relative to the {b}?",
        "On which side of the {b} is the {a}?",
        "Seen from the {b}, where is the {a}?",
        "Is the {a} left of, right of, above or below the {b}?",
    ),
    "exists": (
        "Is there {thing}?",
        "Is there {thing} in the picture?",
        "Do you see {thing}?",
        "Does the picture show {thing}?",
        "Can you see {thing}?",
    ),
    "has_colour": (
        "Is the {thing} {colour}?",
        "Is the {spelling} of the {thing} {colour}?",
        "Does the {thing} look {colour}?",
        "Would you say the {thing} is {colour}?",
    ),
    "has_relation": (
        "Is the {a} {where} the {b}?",
        "Is there {a:a} {where} the {b}?",
        "Do you see {a:a} {where} the {b}?",
        "Does the picture show {a:a} {where} {b:a}?",
    ),
    "has_count": (
        "Are there {number} objects?",
        "Are there {number} shapes?",
        "Do you see {number} objects?",
        "Does the picture show {number} shapes?",
    ),
    "has_one": (
        "Is there only one object?",
        "Is there just one shape?",
        "Do you see only one object?",
        "Does the picture show a single shape?",
    ),
    "size": (
        "How big is the {thing}?",
        "What size is the {thing}?",
        "What is the size of the {thing}?",
        "Is the {thing} small, medium or large?",
    ),
    "bigger": (
        "Which is bigger, the {a} or the {b}?",
        "Which one is bigger, the {a} or the {b}?",
        "Which is larger: the {a} or the {b}?",
        "Of the {a} and the {b}, which is bigger?",
    ),
    "description": (
        "Describe the picture.",
        "What is in the picture?",
        "What do you see?",
        "What does the image show?",
        "Describe this image.",
        "What is this?",
    ),
}

KOREAN: Wordings = {
    "colour": (
        "{thing}[은/는] 무슨 색이야?",
        "{thing}[은/는] 무슨 색인가요?",
        "{thing}의 색은?",
        "{thing}[은/는] 어떤 색이에요?",
        "{thing}의 색깔을 말해 줘.",
    ),
    "colour_of_several": (
        "{things}[은/는] 모두 무슨 색이야?",
        "{things}들은 무슨 색인가요?",
        "{things}들의 색은?",
        "{things}들은 어떤 색이에요?",
    ),
    "colour_alone": (
        "무슨 색이야?",
        "이 도형은 무슨 색인가요?",
        "도형의 색은?",
        "어떤 색이 보여요?",
        "도형의 색깔을 말해 줘.",
    ),
    "shape": (
        "{thing}[은/는] 무슨 모양이야?",
        "{thing}[은/는] 무슨 모양인가요?",
        "{thing}의 모양은?",
        "{thing}[은/는] 어떤 모양이에요?",
        "{thing}의 모양을 말해 줘.",
    ),
    "shape_of_several": (
        "{things}[은/는] 모두 무슨 모양이야?",
        "{things}들은 무슨 모양인가요?",
        "{things}들의 모양은?",
        "{things}들은 어떤 모양이에요?",
    ),
    "shape_alone": (
        "무슨 모양이야?",
        "이건 무슨 모양인가요?",
        "어떤 모양이 보여요?",
        "그림에 있는 모양은?",
        "도형의 모양을 말해 줘.",
    ),
    "count_all": (
        "도형이 몇 개야?",
        "도형이 몇 개 있나요?",
        "모두 몇 개야?",
        "그림에 도형이 몇 개 있어요?",
        "도형의 개수는?",
    ),
    "count_some": (
        "{things}[이/가] 몇 개야?",
        "{things}[은/는] 몇 개 있나요?",
        "{things}[이/가] 몇 개 보여요?",
        "{things}의 개수는?",
        "{things}[을/를] 세어 줘.",
    ),
    "position": (
        "{thing}[은/는] 어디에 있어?",
        "{thing}[은/는] 어디에 있나요?",
        "{thing}의 위치는?",
        "{thing}[이/가] 그림의 어느 쪽에 있어요?",
    ),
    "relation_what": (
        "{thing} {where}에 뭐가 있어?",
        "{thing} {where}에 무엇이 있나요?",
        "{thing}의 {where}에 있는 것은?",
        "{thing} {where}에 있는 도형은 뭐예요?",
    ),
    "relation_where": (
        "{a}[은/는] {b}의 어느 쪽에 있어?",
        "{a}[은/는] {b}의 어느 쪽에 있나요?",
        "{b}[을/를] 기준으로 {a}[은/는] 어디에 있어?",
        "{b}에서 볼 때 {a}의 방향은?",
    ),
    "exists": (
        "{thing}[이/가] 있어?",
        "{thing}[이/가] 있나요?",
        "그림에 {thing}[이/가] 있어요?",
        "{thing}[이/가] 보여?",
        "{thing}[이/가] 보이나요?",
    ),
    "has_colour": (
        "{thing}[은/는] {colour}이야?",
        "{thing}[은/는] {colour}인가요?",
        "{thing}[이/가] {colour}이에요?",
        "{thing}의 색이 {colour} 맞아?",
    ),
    "has_relation": (
        "{a}[이/가] {b} {where}에 있어?",
        "{a}[은/는] {b}의 {where}에 있나요?",
        "{b} {where}에 {a}[이/가] 있어요?",
        "{b} {where}에 {a}[이/가] 보여?",
    ),
    "has_count": (
        "도형이 {number} 개야?",
        "도형이 {number} 개 있나요?",
        "그림에 도형이 {number} 개 있어요?",
        "도형이 모두 {number} 개 맞아?",
    ),
    "has_one": (
        "도형이 하나야?",
        "도형이 하나만 있나요?",
        "그림에 도형이 한 개 있어요?",
        "도형이 하나뿐이야?",
    ),
    "size": (
        "{thing}의 크기는?",
        "{thing}[은/는] 얼마나 커?",
        "{thing}의 크기는 어떤가요?",
        "{thing}의 크기를 말해 줘.",
    ),
    "bigger": (
        "{a}[과/와] {b} 중에 뭐가 더 커?",
        "{a}[과/와] {b} 중 어느 것이 더 큰가요?",
        "{a}[과/와] {b} 가운데 더 큰 것은?",
        "{a}[이랑/랑] {b} 중에서 더 큰 건 뭐예요?",
    ),
    "description": (
        "그림을 설명해 줘.",
        "그림에 뭐가 있어?",
        "무엇이 보이나요?",
        "이 그림을 설명해 주세요.",
        "이미지에 무엇이 있어요?",
    ),
}

WORDINGS: dict[Language, Wordings] = {"en": ENGLISH, "ko": KOREAN}
