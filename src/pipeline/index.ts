/** Recipes: steps in order, each done once. Knows no training method and no task; those come as actions. */
export type { Action, Outputs, StepContext } from "./action.js";
export { type Arguments, Recipe, referredNames, resolveReferences, type Scope } from "./recipe.js";
export { type RecipeProgress, type RecipeResult, type RunRecipeOptions, runRecipe } from "./run-recipe.js";
export { type StepIdentity, stepKey } from "./step-key.js";
