"""The paper's figures: each module draws one and says what there is to say of it; `drawing` holds what they share."""
