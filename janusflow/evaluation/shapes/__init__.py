"""ShapesEval and easy-VQA: what models draw and say of scenes of shapes."""
